"""What one episode is: the record every part of mist_jax writes or reads.

A simulator worker fills the steps and contacts, the driver adds the policy's queries, the dataset
stores all of it, and labels, reports and training read it back. Arrays are numpy, time is first.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from mist_jax.record.column import column
from mist_jax.record.contact import Contact
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps

Outcome = Literal["success", "failure", "crashed"]
UNSTEERED = "none"  # the arm of an episode in which the policy acts as it is
OUTCOMES: tuple[str, ...] = get_args(Outcome)


@dataclass(frozen=True, order=True)
class EpisodeKey:
    """Names one episode; deterministic parts with equal keys give equal episodes."""

    suite: str = field(metadata=column(str))
    task_id: int = field(metadata=column(np.int64))
    initial_state: int = field(metadata=column(np.int64))
    seed: int = field(metadata=column(np.int64))
    arm: str = field(default=UNSTEERED, metadata=column(str))

    def __str__(self) -> str:
        return (
            f"{self.suite}/task{self.task_id}/state{self.initial_state}/seed{self.seed}/{self.arm}"
        )


@dataclass(frozen=True)
class Episode:
    """One finished episode, successful, failed or crashed."""

    key: EpisodeKey
    instruction: str = field(metadata=column(str))
    outcome: Outcome = field(metadata=column(str, doc="success, failure or crashed"))
    max_steps: int = field(metadata=column(np.int64))
    assets: str = field(metadata=column(str, doc="libero or lite"))
    model: str = field(metadata=column(str, doc="name and hash of what acted: a policy, or expert"))
    perturbation: str = field(metadata=column(str, doc="none, or the kind with its parameters"))
    object_names: tuple[str, ...] = field(metadata=column(str, "O"))
    steps: Steps
    contacts: tuple[Contact, ...]
    queries: Queries
    surplus: bool = field(
        default=False,
        metadata=column(np.bool_, doc="beyond the quota of its outcome; kept and marked"),
    )
    variation: str = field(
        default="none",
        metadata=column(str, doc="none, or each axis that the suite varies, as drawn", later=True),
    )
    error: str = field(default="", metadata=column(str, doc="the exception of a crashed episode"))

    @property
    def harmful_onsets(self) -> tuple[Contact, ...]:
        """The contacts at which a harmful contact begins."""
        return tuple(c for c in self.contacts if c.harmful and c.onset)

    @property
    def collided(self) -> bool:
        """Whether there was a harmful contact."""
        return any(contact.harmful for contact in self.contacts)

    @property
    def safe_success(self) -> bool:
        """Success with no harmful contact."""
        return self.outcome == "success" and not self.collided
