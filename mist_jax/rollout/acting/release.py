"""When what an alarm has opened lets go: it neither flickers nor pushes for ever."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS, Bool, Float
from mist_jax.errors import UserError


class AlarmsSoFar(NamedTuple):
    """Of a running episode: which motions alarm at the query before, and for how many in a row.

    `row` counts queries at which any motion alarms, released or not.
    """

    motions: Bool[np.ndarray, "M"]
    row: int

    @classmethod
    def none(cls) -> Self:
        """Before an episode's first query."""
        return cls(np.zeros(len(SIGNED_MOTIONS), bool), 0)

    def after(
        self, risk: Float[np.ndarray, "M"], threshold: Float[np.ndarray, "M"]
    ) -> "AlarmsSoFar":
        """With one query more, whose risk was compared with `threshold`."""
        motions = np.asarray(risk > threshold)
        return AlarmsSoFar(motions, self.row + 1 if motions.any() else 0)


@dataclass(frozen=True)
class Release:
    """A Schmitt trigger on the risk, and a longest time.

    Attributes:
        queries: alarms in a row that are acted on; then it lets go until no motion alarms any more.
            0: it never does.
        hold: share of its threshold that the risk of an alarming motion must fall to for its alarm
            to end; 1: the threshold itself.
    """

    queries: int = 0
    hold: float = 1.0

    def __post_init__(self):
        """Raises UserError for a number of queries below 0, or a share that is not in (0, 1]."""
        if self.queries < 0 or not 0 < self.hold <= 1:
            raise UserError(
                f"a release is after 0 (never) or more queries and a hold in (0, 1], not "
                f"{self.queries} and {self.hold}"
            )

    def lets_go(self, so_far: AlarmsSoFar) -> bool:
        """Whether the query that comes is left alone, whatever its risk."""
        return 0 < self.queries <= so_far.row

    def threshold(
        self, opens: Float[np.ndarray, "M"], so_far: AlarmsSoFar
    ) -> Float[np.ndarray, "M"]:
        """Float32: the risk above which each motion alarms at the query that comes.

        `opens` is that of a motion that does not alarm yet; `hold` only ever lowers it.
        """
        level = np.asarray(opens, np.float32)
        return np.where(so_far.motions, np.minimum(level, level * np.float32(self.hold)), level)


NEVER = Release()
