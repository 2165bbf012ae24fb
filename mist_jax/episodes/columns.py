"""The columns of a serialised `tf.train.Example`, without TensorFlow.

The layout is the one that `tensorflow_datasets` gives to its features: nested names are joined by
"/", a nested dataset stacks its elements, and a sequence inside a nested dataset is stored as its
values end to end with the number of values per element beside. (tensorflow_datasets' own writer
imports TensorFlow for such sequences.)
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from mist_jax.record.column import Column

Values = np.ndarray | Sequence[bytes]
_VALUES, _LENGTHS = "ragged_flat_values", "ragged_row_lengths_0"


def ragged(name: str, values: Values, row_lengths: np.ndarray) -> dict[str, Values]:
    """The two columns of a sequence inside a nested dataset."""
    return {
        f"{name}/{_VALUES}": values,
        f"{name}/{_LENGTHS}": np.asarray(row_lengths, np.int64),
    }


def end_to_end(columns: Mapping[str, Column]) -> dict[str, Column]:
    """The columns of a record of which every step has a sequence, as `ragged` stores them."""
    return {
        field: dataclasses.replace(column, name=f"{column.name}/{_VALUES}")
        for field, column in columns.items()
    }


def texts(values: Sequence[str]) -> list[bytes]:
    """Text as it is stored."""
    return [value.encode() for value in values]


def rows(
    columns: Mapping[str, Column],
    record: Mapping[str, Any],
    prefix: str,
    length: int,
    sizes: Mapping[str, int],
    absent: Collection[str] = (),
) -> dict[str, Values]:
    """The stored form of fields [length, ...].

    Args:
        columns: field -> column, as `columns_of` gives them.
        record: field -> values.
        prefix: what the columns' names begin with.
        length: of every field's first axis.
        sizes: the lengths of the axes that are named by letters.
        absent: fields without values, stored as zeros.

    Raises:
        ValueError: values of another shape.
    """
    stored: dict[str, Values] = {}
    for field, column in columns.items():
        name, values = f"{prefix}/{column.name}", record[field]
        if column.dtype is str:
            if len(values) != length:
                raise ValueError(f"{name} has {len(values)} texts, not {length}")
            stored[name] = texts(values)
            continue
        shape = (length, *column.shape(sizes))
        if not length or field in absent:
            values = np.zeros([max(size, 0) for size in shape], column.dtype)
        array = np.asarray(values, column.dtype)
        if array.ndim != len(shape) or any(
            size not in (-1, found) for size, found in zip(shape, array.shape, strict=True)
        ):
            raise ValueError(f"{name} is {list(array.shape)}, not {list(shape)}")
        if column.ragged:
            stored.update(ragged(name, array, np.full(length, array.shape[1])))
        else:
            stored[name] = array
    return stored


def write_columns(columns: Mapping[str, Values]) -> bytes:
    """Serialises the columns: floating, integer and bool arrays of any shape, or bytes."""
    example = _empty_example()
    for name, column in columns.items():
        feature = example.features.feature[name]
        if not isinstance(column, np.ndarray):
            values, stored = feature.bytes_list, column
        elif column.dtype.kind == "f":
            values, stored = feature.float_list, column.astype(np.float32).ravel().tolist()
        else:
            values, stored = feature.int64_list, column.astype(np.int64).ravel().tolist()
        # An empty list must be there too: its kind tells readers the column's type.
        values.SetInParent()
        values.value.extend(stored)
    return example.SerializeToString()


class ColumnReader:
    """Reads single columns of a serialised `tf.train.Example`.

    Raises:
        ValueError: `record` is not one, or a column is missing or of another length.
    """

    def __init__(self, record: bytes):
        from google.protobuf.message import DecodeError

        example = _empty_example()
        try:
            example.ParseFromString(record)
        except DecodeError as error:
            raise ValueError(f"no tf.train.Example: {error}") from None
        self._features = example.features.feature

    def __contains__(self, name: str) -> bool:
        """Whether the record has a column."""
        return name in self._features

    def array(self, name: str, dtype: type, *shape: int) -> np.ndarray:
        """A numeric column as an array of `dtype` and `shape` (one axis may be -1)."""
        column = self._column(name)
        values = column.float_list if column.HasField("float_list") else column.int64_list
        return np.array(values.value, dtype).reshape(shape)

    def bytes(self, name: str) -> tuple[bytes, ...]:
        """A column of bytes."""
        return tuple(self._column(name).bytes_list.value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A column of text."""
        return tuple(value.decode() for value in self.bytes(name))

    def row_lengths(self, name: str) -> np.ndarray:
        """int64 [N]: how many values each element of a `ragged` column has."""
        return self.array(f"{name}/{_LENGTHS}", np.int64, -1)

    def rows(
        self,
        columns: Mapping[str, Column],
        prefix: str,
        length: int,
        sizes: Mapping[str, int],
        absent: Collection[str] = (),
    ) -> dict[str, Any]:
        """field -> values [length, ...], the inverse of `rows`; None for those `absent`."""
        record: dict[str, Any] = {}
        for field, column in columns.items():
            name = f"{prefix}/{column.name}" + (f"/{_VALUES}" if column.ragged else "")
            if field in absent:
                record[field] = None
            elif column.dtype is str:
                record[field] = self.texts(name)
            else:
                shape = (length, *column.shape(sizes))
                if not length:
                    shape = tuple(max(size, 0) for size in shape)
                record[field] = self.array(name, column.dtype, *shape)
        return record

    def _column(self, name: str) -> Any:
        if name not in self._features:
            raise ValueError(f"column {name!r} is missing")
        return self._features[name]


def _empty_example() -> Any:
    from tensorflow_datasets.proto import tf_example_pb2

    # The message classes are made at run time, which type checkers do not see.
    return vars(tf_example_pb2)["Example"]()
