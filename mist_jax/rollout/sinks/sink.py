"""What takes the episodes of a run."""

from typing import Protocol

from mist_jax.record.episode import Episode


class Sink(Protocol):
    """Takes one episode at a time, in the order in which they end."""

    def put(self, episode: Episode) -> None:
        """Raises UserError where the run should stop; what was put before stays."""
        ...
