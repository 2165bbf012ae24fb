"""A pickle of tensors read as a list of instructions, by a machine that can make nothing else.

Nothing is imported, called or set as an attribute. The machine knows the instructions of pickle
protocol 2 that `torch.save` writes for dictionaries of tensors; its values are None, booleans,
integers, text, tuples, lists, dictionaries with text as keys, storages and tensors.
"""

import math
import pickletools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

_STORAGES: Mapping[str, np.dtype] = {
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "HalfStorage": np.dtype(np.float16),
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_MOST_AXES = 16
_MARK = object()


@dataclass(frozen=True)
class Storage:
    """Values in one member of the archive, `length` of them by what the pickle says."""

    member: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in its storage; offset and strides count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def check(self, length: int) -> None:
        """Raises ValueError unless the tensor lies within the first `length` values."""
        numbers = (self.offset, *self.shape, *self.strides)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("a tensor's offset, shape and strides must be integers from 0 up")
        if len(self.shape) != len(self.strides) or len(self.shape) > _MOST_AXES:
            raise ValueError(f"a tensor has {len(self.shape)} axes, {len(self.strides)} strides")
        reach = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        # Fewer values than asked for would be repeated: what a few bytes say could fill memory.
        if 0 not in self.shape and (
            self.offset + reach >= length or math.prod(self.shape) > length
        ):
            raise ValueError("a tensor reaches beyond its storage")


@dataclass(frozen=True)
class _Name:
    """A global's name, which is all that is known of it."""

    module: str
    name: str


def read_pickled_tensors(pickled: bytes) -> Any:
    """What a pickle describes; tensors are `StoredTensor`s, checked against their storages.

    Raises:
        ValueError: it is cut short, or asks for anything that is not a tensor.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "STOP":
            (result,) = machine.stack
            return result
        machine.step(opcode.name, argument)
    raise ValueError("the pickle has no end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Runs one instruction."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _NUMBERS_AND_TEXT:
            self.stack.append(argument)
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES[name])))
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise ValueError(f"the instruction {name} makes no tensor")

    def _take(self, count: int) -> list[Any]:
        taken = self.stack[len(self.stack) - count :] if count else []
        if len(taken) != count or any(one is _MARK for one in taken):
            raise ValueError("an instruction lacks its values")
        del self.stack[len(self.stack) - count :]
        return taken

    def _take_to_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                taken = self.stack[place + 1 :]
                del self.stack[place:]
                return taken
        raise ValueError("an instruction lacks its mark")

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"an instruction is not for a {kind.__name__}")
        return self.stack[-1]

    def put(self, place: int) -> None:
        (value,) = self._take(1)
        self.stack.append(value)
        self._memo[place] = value

    def get(self, place: int) -> None:
        if place not in self._memo:
            raise ValueError("an instruction refers to nothing")
        self.stack.append(self._memo[place])

    def empty(self, kind: Callable[[], Any]) -> None:
        self.stack.append(kind())

    def find(self, said: str) -> None:
        self.stack.append(_Name(*said.split(" ", 1)))

    def make_tuple(self) -> None:
        self.stack.append(tuple(self._take_to_mark()))

    def append(self, items: Sequence[Any]) -> None:
        self._top(list).extend(items)

    def set_items(self, items: Sequence[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values) or any(type(key) is not str for key in keys):
            raise ValueError("a dictionary's keys must be text")
        self._top(dict).update(zip(keys, values, strict=True))

    def build(self) -> None:
        """State of a dictionary (`_metadata` of a state_dict) is left out; nothing else has any."""
        self._take(1)
        self._top(dict)

    def call(self) -> None:
        function, arguments = self._take(2)
        if type(function) is not _Name or type(arguments) is not tuple:
            raise ValueError("something that is not a function is called")
        if function == _Name("collections", "OrderedDict") and not arguments:
            self.stack.append({})
        elif function == _Name("torch._utils", "_rebuild_tensor_v2"):
            self.stack.append(_tensor(arguments))
        elif function == _Name("torch._utils", "_rebuild_parameter") and arguments:
            self.stack.append(_only(StoredTensor, arguments[0]))
        else:
            raise ValueError(f"{function.module}.{function.name} is not a tensor"[:200])

    def refer(self) -> None:
        ((kind, storage, member, _, length),) = (_only(tuple, one) for one in self._take(1))
        name = _only(_Name, storage)
        if kind != "storage" or name.module != "torch" or name.name not in _STORAGES:
            raise ValueError("an unknown kind of storage")
        if type(length) is not int or length < 0:
            raise ValueError("a storage's length must be an integer from 0 up")
        self.stack.append(Storage(_only(str, member), _STORAGES[name.name], length))


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    if len(arguments) < 4:
        raise ValueError("a tensor lacks its storage, offset, shape or strides")
    storage, offset, shape, strides = arguments[:4]
    placed = StoredTensor(
        _only(Storage, storage), offset, _only(tuple, shape), _only(tuple, strides)
    )
    placed.check(placed.storage.length)
    return placed


def _only(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"there is a {type(value).__name__}, not a {kind.__name__}")
    return value


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_NUMBERS_AND_TEXT = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "BINFLOAT"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, number: None,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_DICT": lambda machine, _: machine.empty(dict),
    "EMPTY_LIST": lambda machine, _: machine.empty(list),
    "GLOBAL": _Machine.find,
    "TUPLE": lambda machine, _: machine.make_tuple(),
    "APPEND": lambda machine, _: machine.append(machine._take(1)),
    "APPENDS": lambda machine, _: machine.append(machine._take_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine._take(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine._take_to_mark()),
    "BUILD": lambda machine, _: machine.build(),
    "REDUCE": lambda machine, _: machine.call(),
    "BINPERSID": lambda machine, _: machine.refer(),
}
