"""The steps of the episode that a worker is running, gathered one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mist_jax.record.column import columns_of
from mist_jax.record.observation import CAMERAS, Observation
from mist_jax.record.picture import encode_picture
from mist_jax.record.steps import Steps


class Recording:
    """Columns of `Steps` under construction; `object_names` fixes the order of the objects."""

    def __init__(self, object_names: Sequence[str], record: type[Steps] = Steps):
        self._object_names = tuple(object_names)
        self._record = record
        self._rows: dict[str, list[Any]] = {name: [] for name in columns_of(record)}
        self._images: dict[str, list[bytes]] = {camera: [] for camera in CAMERAS}

    def add(self, observation: Observation, *, keep_images: bool, **values: Any) -> None:
        """One control step: the observation before it, and the step's other fields by name.

        Raises:
            TypeError: a field has no value, or a value no field.
        """
        shared = {name: value for name, value in vars(observation).items() if name in self._rows}
        values = {**shared, **values}
        if values.keys() != self._rows.keys():
            odd = ", ".join(sorted(values.keys() ^ self._rows.keys()))
            raise TypeError(f"a step's fields are {', '.join(self._rows)}; not so: {odd}")
        for name, value in values.items():
            if isinstance(value, Mapping):
                value = [value[one] for one in self._object_names]
            self._rows[name].append(value)
        for camera, images in self._images.items():
            images.append(encode_picture(observation.images[camera]) if keep_images else b"")

    def copy(self) -> "Recording":
        """The same so far, to go on from twice."""
        other = Recording(self._object_names, self._record)
        other._rows = {name: list(rows) for name, rows in self._rows.items()}
        other._images = {camera: list(images) for camera, images in self._images.items()}
        return other

    def steps(self) -> Steps:
        """What was gathered; cameras of which no image was kept are left out."""
        sizes = {"O": len(self._object_names)}
        columns = {
            name: np.asarray(self._rows[name], column.dtype).reshape(
                len(self._rows[name]), *column.shape(sizes)
            )
            for name, column in columns_of(self._record).items()
        }
        images = {camera: tuple(kept) for camera, kept in self._images.items() if any(kept)}
        return self._record(**columns, images=images)
