"""Initial states beyond the published ones: drawn from a task's regions, known by their index.

An index from 1000 on names a scene that nobody has to store: its seed follows from the suite, the
task and the index, so every process draws the same. Ranges of them are put aside for what they may
be used for.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from mist_jax.errors import UserError
from mist_jax.simulator.libero.suite import Task

Pool = Literal["tuning", "sealed", "study"]
# `tuning`: to choose coefficients, thresholds and methods on. `sealed` and `study`: to report, each
# opened once; `study` is for the preregistered study of steering, the risk study opened `sealed`.
POOLS: Mapping[Pool, range] = MappingProxyType(
    {"tuning": range(1000, 5000), "sealed": range(5000, 7000), "study": range(7000, 9000)}
)
REPORTED: tuple[Pool, ...] = ("sealed", "study")
SAMPLED = range(1000, 9000)


def sampling_seed(task: Task, index: int) -> int:
    """The seed, 32 bits, of a sampled scene: a function of plain suite, task id and index alone."""
    name = f"{task.plain_suite}/{task.task_id}/{index}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def check_initial_state(index: int, published: int) -> None:
    """Makes sure that a task with so many published states has this one.

    Raises:
      UserError: it is neither published nor in the range of the sampled ones.
    """
    if index not in range(published) and index not in SAMPLED:
        raise UserError(
            f"there is no initial state {index}: valid ids are 0 to {published - 1}, "
            f"or {SAMPLED[0]} to {SAMPLED[-1]} (sampled)"
        )
