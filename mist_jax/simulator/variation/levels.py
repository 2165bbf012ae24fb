"""Which axes a suite is varied along, how far, and how its name says so."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from mist_jax.errors import UserError

# Axis -> its number of levels, harder and harder; names of suites list axes in this order.
AXES: Mapping[str, int] = MappingProxyType(
    {"camera": 5, "robot": 5, "noise": 5, "language": 3, "layout": 3}
)
_SUFFIX = re.compile(rf"(\w+?)((?:_(?:{'|'.join(AXES)})[0-9]*)+)")


@dataclass(frozen=True)
class Variation:
    """The level of each axis of LIBERO-plus (Fei et al. 2025, arXiv 2510.13626); 0 leaves it alone.

    Attributes:
      camera: moves the viewpoint of the agentview camera (`viewpoint.py`).
      robot: moves the arm's joints at the start (`start_pose.py`).
      noise: spoils the agentview pictures (`image_noise.py`).
      language: words the instruction otherwise (`paraphrase.py`).
      layout: displaces the objects and, at last, adds one (`layout.py`).
    """

    camera: int = 0
    robot: int = 0
    noise: int = 0
    language: int = 0
    layout: int = 0

    @property
    def moves_bodies(self) -> bool:
        """Whether bodies stand elsewhere: what was known of the plain scene may not hold."""
        return bool(self.robot or self.layout)

    def __str__(self) -> str:
        """As it ends a suite's name, such as `camera2_noise3`; empty where nothing is varied."""
        levels = dataclasses.asdict(self)
        return "_".join(f"{axis}{level}" for axis, level in levels.items() if level)

    @classmethod
    def of_name(cls, name: str) -> tuple[str, Self] | None:
        """The plain suite's name and the variation of it that a name tells; None if it tells none.

        Raises:
          UserError: an axis has no level, no such level or two of them, or their order is another.
        """
        found = _SUFFIX.fullmatch(name)
        if found is None:
            return None
        plain, suffix = found.groups()
        levels: dict[str, int] = {}
        for word in suffix.strip("_").split("_"):
            axis = word.rstrip("0123456789")
            number = word.removeprefix(axis)
            if axis in levels:
                raise UserError(f"{name}: {axis} stands twice")
            if not number or int(number) not in range(1, AXES[axis] + 1):
                raise UserError(
                    f"{name}: the levels of {axis} are 1 to {AXES[axis]}: {plain}_{axis}1 is one"
                )
            levels[axis] = int(number)
        variation = cls(**levels)
        if f"{plain}_{variation}" != name:
            raise UserError(f"{name}: write {plain}_{variation}")
        return plain, variation


PLAIN = Variation()


def plain_suite(name: str) -> str:
    """The suite whose placements a suite's initial states are: its own name without a variation."""
    found = _SUFFIX.fullmatch(name)
    return name if found is None else found.group(1)
