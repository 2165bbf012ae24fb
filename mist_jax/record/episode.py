"""What one episode is: the record every part of mist_jax writes or reads.

A simulator worker fills the steps and contacts, the driver adds the policy's queries, the dataset
stores all of it, and labels, reports and training read it back. Arrays are numpy, time is first.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from mist_jax.record.contact import Contact
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps

Outcome = Literal["success", "failure", "crashed"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


@dataclass(frozen=True, order=True)
class EpisodeKey:
    """Names one episode; deterministic parts with equal keys give equal episodes."""

    suite: str
    task_id: int
    initial_state: int
    seed: int
    arm: str = "none"

    def __str__(self) -> str:
        return (
            f"{self.suite}/task{self.task_id}/state{self.initial_state}/seed{self.seed}/{self.arm}"
        )


@dataclass(frozen=True)
class Episode:
    """One finished episode, successful, failed or crashed."""

    key: EpisodeKey
    instruction: str
    outcome: Outcome
    max_steps: int
    assets: str  # "libero" or "lite"
    model: str  # name and hash of what acted: a policy, or "expert"
    perturbation: str  # "none", or the kind with its parameters
    object_names: tuple[str, ...]
    steps: Steps
    contacts: tuple[Contact, ...]
    queries: Queries
    surplus: bool = False  # beyond the quota of its outcome; kept and marked
    error: str = ""  # the exception of a crashed episode

    @property
    def harmful_onsets(self) -> tuple[Contact, ...]:
        """The contacts at which a harmful contact begins."""
        return tuple(c for c in self.contacts if c.harmful and c.onset)

    @property
    def safe_success(self) -> bool:
        """Success with no harmful contact (DESIGN section 5)."""
        return self.outcome == "success" and not any(c.harmful for c in self.contacts)
