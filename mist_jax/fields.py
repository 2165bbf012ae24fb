"""Whether a record that was read from JSON holds what its annotations say."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_fields(record: Any) -> None:
    """Compares every field of a dataclass with its annotation, at any depth.

    A float field takes whole numbers too, but neither takes true and false; numbers are finite.

    Raises:
        TypeError: a field is of another type, or none of the literals; the message names it.
    """
    hints = get_type_hints(type(record))
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if not _fits(value, hints[field.name]):
            shown = repr(value)
            raise TypeError(f"{field.name} = {shown if len(shown) <= 80 else f'{shown[:77]}...'}")


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(name, arguments[0]) and _fits(item, arguments[1]) for name, item in value.items()
        )
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, kind):  # pyright: ignore[reportArgumentType]
            return False
        check_fields(value)
        return True
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is (type(None) if kind is None else kind)
