"""A simulator or policy that crashes again and again is no accident."""

from mist_jax.errors import UserError
from mist_jax.record.episode import Episode

CRASHES_IN_A_ROW = 8


class CrashGuard:
    """Stops a run in which `limit` episodes crash in a row."""

    def __init__(self, limit: int = CRASHES_IN_A_ROW):
        self._limit, self._crashes = limit, 0

    def put(self, episode: Episode) -> None:
        """Raises UserError at the last of so many crashes."""
        self._crashes = self._crashes + 1 if episode.outcome == "crashed" else 0
        if self._crashes == self._limit:
            raise UserError(
                f"{self._crashes} episodes crashed in a row, the last with: {episode.error}"
            )
