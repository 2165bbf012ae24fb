"""How a field of a record is stored: declared once, where the field is.

What gathers records, stores them, reads them back and describes them to others goes over these
declarations, so a new field is one line of its record and whoever fills it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS

Axis = str | int
ColumnType = type[np.float32] | type[np.int32] | type[np.int64] | type[np.bool_] | type[str]

VARYING = ("L", "O")  # axes of which every episode may have another length
_KEY = "column"


@dataclass(frozen=True)
class Column:
    """One column of the stored form, with one value per step, contact, query or episode.

    `axes` are those of one value: a letter of `mist_jax.axes` or a fixed length. `name` is the
    column's, "/" between nested names. An `optional` field may be None (queries alone). A field
    that came `later` has its default where a record was written before (an episode's own alone).
    """

    dtype: ColumnType
    axes: tuple[Axis, ...] = ()
    name: str = ""
    optional: bool = False
    doc: str = ""
    later: bool = False

    @property
    def ragged(self) -> bool:
        """Whether the length of the first axis is the episode's own."""
        return self.axes[:1] != () and self.axes[0] in VARYING

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of one value; -1 for a varying axis that `sizes` does not give.

        Raises:
            ValueError: nobody says how long an axis is.
        """
        fixed = {"A": len(ACTION_DIMENSIONS), "M": len(SIGNED_MOTIONS)}
        known = {**fixed, **dict.fromkeys(VARYING, -1), **sizes}
        unknown = [axis for axis in self.axes if isinstance(axis, str) and axis not in known]
        if unknown:
            raise ValueError(f"column {self.name!r} has an axis {unknown[0]!r} of unknown length")
        return tuple(known[axis] if isinstance(axis, str) else axis for axis in self.axes)


def column(
    dtype: ColumnType,
    *axes: Axis,
    name: str = "",
    optional: bool = False,
    doc: str = "",
    later: bool = False,
) -> Mapping[str, Column]:
    """The metadata of a dataclass's field that is stored; `name` where it is not the field's."""
    return {_KEY: Column(dtype, axes, name, optional, doc, later)}


def columns_of(record: type, *, ragged: bool = True) -> dict[str, Column]:
    """Field -> column, of every field of a record that is one; those with fixed axes alone unless
    `ragged`.
    """
    columns = {
        field.name: dataclasses.replace(
            field.metadata[_KEY], name=field.metadata[_KEY].name or field.name
        )
        for field in dataclasses.fields(record)
        if _KEY in field.metadata
    }
    return {name: one for name, one in columns.items() if ragged or not one.ragged}
