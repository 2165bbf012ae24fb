"""What a suite says of itself: one row, from which its tasks follow."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mist_jax.errors import UserError
from mist_jax.simulator.variation.levels import PLAIN, Variation

AssetKind = Literal["libero", "lite"]


@dataclass(frozen=True)
class Predicates:
    """How the predicates of a suite's BDDL goals are read, lower case.

    Attributes:
      places: `on A B`: A is to be moved, and B is where it may touch.
      operates: `open A`: the jointed parts of A are to be moved by the robot.
    """

    places: tuple[str, ...] = ("on", "in")
    operates: tuple[str, ...] = ("open", "close", "turnon", "turnoff")


@dataclass(frozen=True)
class TaskFiles:
    """One task as its suite gives it.

    Attributes:
      name: unique within the suite.
      language: the instruction.
      bddl_file: scene, regions and goal, of a problem class that LIBERO knows.
      initial_states_file: a float64 table [states, 1 + nq + nv] (time, then MuJoCo's qpos and
        qvel), as `.npy` or as LIBERO's torch zip; None if all scenes are drawn.
    """

    name: str
    language: str
    bddl_file: Path
    initial_states_file: Path | None


@dataclass(frozen=True)
class Task:
    """One task of a suite, with all that simulating it takes.

    Attributes:
      suite: the suite's name.
      task_id: its place in the suite's order.
      name, language, bddl_file, initial_states_file: as in `TaskFiles`.
      max_steps: the cap on control steps, settling steps not counted.
      settle_steps: no-op steps between a reset and the first observation.
      predicates: how its goal is read.
      prepare: called once in a process before a scene of it is built.
      problem, variation, varies: as in `Suite`.
    """

    suite: str
    task_id: int
    name: str
    language: str
    bddl_file: Path
    initial_states_file: Path | None
    max_steps: int
    settle_steps: int = 10
    predicates: Predicates = Predicates()
    prepare: Callable[[], None] | None = None
    problem: Callable[[type], type] | None = None
    variation: Variation = PLAIN
    varies: str = ""

    @property
    def plain_suite(self) -> str:
        """The suite whose placements the initial states are."""
        return self.varies or self.suite


@dataclass(frozen=True)
class Suite:
    """A row of the table of suites.

    Attributes:
      name: what `--env` and every episode call it.
      files: gives the tasks in order; called when they are needed.
      max_steps: the cap on control steps of an episode, settling steps not counted.
      settle_steps: no-op steps between a reset and the first observation.
      asset_kinds: which scene assets it can be simulated with.
      asset_files: what a folder of assets must hold for it, relative; told before work starts.
      predicates: how its goals are read. A BDDL file states the goal; LIBERO checks it.
      prepare: registers with LIBERO the objects, fixtures and predicates that only this suite
        has. Called once in a process, before a scene is built: LIBERO can be imported there, and
        not when this row is made.
      problem: makes the class of its scenes from the class that LIBERO has for the BDDL file's
        problem: a suite whose scenes hold or place more than a BDDL file can say.
      scenes: the table of its accepted sampled scenes (`SceneTable`), for
        `--initial_states=tuning`, `sealed` and `study`; None where there is none.
      variation: how its scenes differ from those of the suite that it `varies`, by name
        (`varied_suite.py` makes such suites).
      varies: that suite; empty where it is no other's variation.
    """

    name: str
    files: Callable[[], tuple[TaskFiles, ...]]
    max_steps: int
    settle_steps: int = 10
    asset_kinds: tuple[AssetKind, ...] = ("libero",)
    asset_files: tuple[str, ...] = ()
    predicates: Predicates = Predicates()
    prepare: Callable[[], None] | None = None
    problem: Callable[[type], type] | None = None
    scenes: Path | None = None
    variation: Variation = PLAIN
    varies: str = ""

    def __post_init__(self) -> None:
        """Raises UserError for a name that a dataset's keys cannot hold."""
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.name):
            raise UserError(f"the suite name {self.name!r} may hold letters, digits and _ only")

    @property
    def plain_suite(self) -> str:
        """The suite whose placements the initial states are."""
        return self.varies or self.name

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, by task id."""
        return _tasks(self)


@functools.cache
def _tasks(suite: Suite) -> tuple[Task, ...]:
    return tuple(
        Task(
            suite=suite.name,
            task_id=task_id,
            name=files.name,
            language=files.language,
            bddl_file=files.bddl_file,
            initial_states_file=files.initial_states_file,
            max_steps=suite.max_steps,
            settle_steps=suite.settle_steps,
            predicates=suite.predicates,
            prepare=suite.prepare,
            problem=suite.problem,
            variation=suite.variation,
            varies=suite.varies,
        )
        for task_id, files in enumerate(suite.files())
    )
