"""LIBERO's task suites: their tasks in natural order, with the files and step caps of each."""

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

from mist_jax.errors import UserError
from mist_jax.simulator.libero.libero_package import package_folder

# OpenVLA-OFT's step caps (experiments/robot/libero/run_libero_eval.py).
MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
SUITES = tuple(MAX_STEPS)
SETTLE_STEPS = 10


@dataclass(frozen=True)
class Task:
    """One task of a suite.

    Attributes:
      suite: one of `SUITES`.
      task_id: its place in the suite's natural order.
      name: LIBERO's name, which is the stem of its files.
      language: the instruction, as LIBERO derives it from the name.
      bddl_file: the scene and the goal.
      initial_states_file: the torch zip of the benchmark's 50 initial states.
      max_steps: the cap on control steps, settling steps not counted.
    """

    suite: str
    task_id: int
    name: str
    language: str
    bddl_file: Path
    initial_states_file: Path
    max_steps: int


@functools.cache
def load_suite(suite: str) -> tuple[Task, ...]:
    """The tasks of a suite, by task id. Raises UserError for an unknown suite."""
    if suite not in SUITES:
        raise UserError(f"there is no suite {suite!r}: valid ones are {', '.join(SUITES)}")
    folder = package_folder()
    return tuple(
        Task(
            suite=suite,
            task_id=task_id,
            name=name,
            language=_language(name),
            bddl_file=folder / "bddl_files" / suite / f"{name}.bddl",
            initial_states_file=folder / "init_files" / suite / f"{name}.pruned_init",
            max_steps=MAX_STEPS[suite],
        )
        for task_id, name in enumerate(_task_names(folder, suite))
    )


def load_task(suite: str, task_id: int) -> Task:
    """One task. Raises UserError for an unknown suite or task id."""
    tasks = load_suite(suite)
    if not 0 <= task_id < len(tasks):
        raise UserError(f"{suite} has no task {task_id}: valid ids are 0 to {len(tasks) - 1}")
    return tasks[task_id]


def _task_names(folder: Path, suite: str) -> list[str]:
    # LIBERO's own benchmark module imports torch, so its table is read as a literal.
    path = folder / "benchmark" / "libero_suite_task_map.py"
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            return ast.literal_eval(statement.value)[suite]
    raise UserError(f"{path} holds no table of tasks: install hf-libero==0.1.4 again")


def _language(name: str) -> str:
    if not name[0].isupper():
        return name.replace("_", " ")
    # LIBERO-100 names start with a room and a scene: KITCHEN_SCENE10_close_the_drawer.
    scene = name.index("SCENE") + len("SCENE")
    return name[name.index("_", scene) + 1 :].replace("_", " ")
