"""LIBERO's spatial and object suites with an obstacle beside the arm's way, after SafeLIBERO."""

import dataclasses
from functools import partial
from pathlib import Path

from mist_jax.simulator.cluttered.corridor import Corridor
from mist_jax.simulator.libero.libero_suites import LIBERO_SUITES
from mist_jax.simulator.libero.suite import Suite, TaskFiles

_LIBERO = {suite.name: suite for suite in LIBERO_SUITES}


def _files(suite: str) -> tuple[TaskFiles, ...]:
    """LIBERO's tasks, words and BDDL files; no state of them holds the obstacles."""
    return tuple(
        dataclasses.replace(files, initial_states_file=None) for files in _LIBERO[suite].files()
    )


def _problem(problem_class: type, corridor: Corridor) -> type:
    # Where suites are only listed, MuJoCo is not imported.
    from mist_jax.simulator.cluttered.problem import with_obstacles

    return with_obstacles(problem_class, corridor)


def _row(suite: str, corridor: Corridor) -> Suite:
    name = f"{suite}_cluttered"
    return dataclasses.replace(
        _LIBERO[suite],
        name=name,
        scenes=Path(__file__).parent / "scenes" / f"{name}.json",
        files=partial(_files, suite),
        problem=partial(_problem, corridor=corridor),
    )


CLUTTERED_SUITES = (
    _row("libero_spatial", Corridor(nearest=0.045, farthest=0.14)),
    _row("libero_object", Corridor(nearest=0.045, farthest=0.14)),
)
