"""A suite with every scene varied: the same tasks, goals and caps, made harder."""

import dataclasses
import functools
from collections.abc import Callable

from mist_jax.simulator.libero.suite import Suite, TaskFiles
from mist_jax.simulator.variation.levels import Variation


@functools.cache
def vary(suite: Suite, variation: Variation) -> Suite:
    """The suite with a variation; its initial states are the suite's own, by their index.

    Accepted scenes are the suite's where the bodies stand as they did. A layout has no published
    states: its scenes are drawn.
    """
    files, problem = suite.files, suite.problem
    if variation.layout:
        files = functools.partial(_without_states, suite.files)
        problem = functools.partial(_displaced, level=variation.layout, first=suite.problem)
    return dataclasses.replace(
        suite,
        name=f"{suite.name}_{variation}",
        files=files,
        problem=problem,
        scenes=None if variation.moves_bodies else suite.scenes,
        variation=variation,
        varies=suite.name,
    )


def _without_states(files: Callable[[], tuple[TaskFiles, ...]]) -> tuple[TaskFiles, ...]:
    return tuple(dataclasses.replace(one, initial_states_file=None) for one in files())


def _displaced(problem_class: type, level: int, first: Callable[[type], type] | None) -> type:
    # Where suites are only listed, MuJoCo is not imported.
    from mist_jax.simulator.variation.layout import with_layout

    return with_layout(problem_class if first is None else first(problem_class), level)
