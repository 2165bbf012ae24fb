"""The state of a running episode that a worker can go back to: the simulator's and the record's."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from mist_jax.record.contact import Contact
from mist_jax.rollout.recording import Recording

if TYPE_CHECKING:
    from mist_jax.simulator.contacts.monitor import ContactMonitor, MonitorSnapshot
    from mist_jax.simulator.environment.environment import Environment, Snapshot


@dataclass(frozen=True)
class ForkedState:
    """Where an episode stands after its prefix.

    `of` says of which one (`EpisodeSpec.fork`); `executed` are the actions since the turn before.
    """

    of: Hashable
    environment: "Snapshot"
    monitor: "MonitorSnapshot"
    recording: Recording
    contacts: tuple[Contact, ...]
    executed: tuple[np.ndarray, ...]

    @classmethod
    def take(
        cls,
        of: Hashable,
        environment: "Environment",
        monitor: "ContactMonitor",
        recording: Recording,
        contacts: list[Contact],
        executed: list[np.ndarray],
    ) -> Self:
        """A copy of the state now, between two control steps."""
        return cls(
            of,
            environment.snapshot(),
            monitor.snapshot(),
            recording.copy(),
            tuple(contacts),
            tuple(executed),
        )

    def restore(self, environment: "Environment", monitor: "ContactMonitor") -> None:
        """Puts the simulator back; both may be others, of the same scene."""
        environment.restore(self.environment)
        monitor.restore(self.monitor)
