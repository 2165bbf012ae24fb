"""LIBERO's own suites: tasks in natural order, with OpenVLA-OFT's step caps."""

import ast
from functools import partial
from pathlib import Path

from mist_jax.errors import UserError
from mist_jax.simulator.libero.libero_package import package_folder
from mist_jax.simulator.libero.suite import Suite, TaskFiles


def _files(suite: str) -> tuple[TaskFiles, ...]:
    folder = package_folder()
    return tuple(
        TaskFiles(
            name=name,
            language=instruction_of(name),
            bddl_file=folder / "bddl_files" / suite / f"{name}.bddl",
            initial_states_file=folder / "init_files" / suite / f"{name}.pruned_init",
        )
        for name in _task_names(folder, suite)
    )


def _task_names(folder: Path, suite: str) -> list[str]:
    # LIBERO's own benchmark module imports torch, so its table is read as a literal.
    path = folder / "benchmark" / "libero_suite_task_map.py"
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            return ast.literal_eval(statement.value)[suite]
    raise UserError(f"{path} holds no table of tasks: install hf-libero==0.1.4 again")


def instruction_of(name: str) -> str:
    """The instruction of a task, as LIBERO derives it from the task's name."""
    if not name[0].isupper():
        return name.replace("_", " ")
    # LIBERO-100 names start with a room and a scene: KITCHEN_SCENE10_close_the_drawer.
    scene = name.index("SCENE") + len("SCENE")
    return name[name.index("_", scene) + 1 :].replace("_", " ")


def _row(name: str, max_steps: int, *, lite: bool = False) -> Suite:
    kinds = ("libero", "lite") if lite else ("libero",)
    scenes = Path(__file__).parent / "scenes" / f"{name}.json"  # where the expert can do the tasks
    return Suite(
        name,
        partial(_files, name),
        max_steps,
        asset_kinds=kinds,
        scenes=scenes if scenes.is_file() else None,
    )


# The caps are those of OpenVLA-OFT's experiments/robot/libero/run_libero_eval.py.
LIBERO_SUITES = (
    _row("libero_spatial", 220, lite=True),
    _row("libero_object", 280, lite=True),
    _row("libero_goal", 300),
    _row("libero_10", 520),
    _row("libero_90", 400),
)
