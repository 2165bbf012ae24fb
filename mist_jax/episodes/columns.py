"""The columns of a serialised `tf.train.Example`, without TensorFlow.

The layout is the one that `tensorflow_datasets` gives to its features: nested names are joined by
"/", a nested dataset stacks its elements, and a sequence inside a nested dataset is stored as its
values end to end with the number of values per element beside. (tensorflow_datasets' own writer
imports TensorFlow for such sequences.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Column = np.ndarray | Sequence[bytes]


def ragged(name: str, values: Column, row_lengths: np.ndarray) -> dict[str, Column]:
    """The two columns of a sequence inside a nested dataset."""
    return {
        f"{name}/ragged_flat_values": values,
        f"{name}/ragged_row_lengths_0": np.asarray(row_lengths, np.int64),
    }


def texts(values: Sequence[str]) -> list[bytes]:
    """Text as it is stored."""
    return [value.encode() for value in values]


def write_columns(columns: Mapping[str, Column]) -> bytes:
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

    def integer(self, name: str) -> int:
        """A single integer."""
        return self.array(name, np.int64, 1).item()

    def text(self, name: str) -> str:
        """A single text."""
        (value,) = self.texts(name)
        return value

    def _column(self, name: str) -> Any:
        if name not in self._features:
            raise ValueError(f"column {name!r} is missing")
        return self._features[name]


def _empty_example() -> Any:
    from tensorflow_datasets.proto import tf_example_pb2

    # The message classes are made at run time, which type checkers do not see.
    return vars(tf_example_pb2)["Example"]()
