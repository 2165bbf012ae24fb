"""SafeLIBERO's suites, where the user has its files: four tasks each, at two levels."""

from functools import partial

from mist_jax.simulator.libero.libero_suites import instruction_of
from mist_jax.simulator.libero.suite import AssetKind, Suite, TaskFiles
from mist_jax.simulator.safelibero.folder import LEVELS, SUITES, task_files, task_names

# Those whose other objects the lite assets hold too.
_LITE = ("safelibero_spatial", "safelibero_object")
# As published evaluations on it have them.
_MAX_STEPS, _MAX_STEPS_LONG, _SETTLE_STEPS = 300, 550, 20


def _files(suite: str, level: str) -> tuple[TaskFiles, ...]:
    return tuple(
        TaskFiles(name, instruction_of(name), *task_files(suite, level, name))
        for name in task_names(suite, level)
    )


def _prepare(suite: str, level: str) -> None:
    # Where suites are only listed, MuJoCo is not imported.
    from mist_jax.simulator.safelibero.obstacles import register_obstacles

    register_obstacles(suite, level)


def _row(suite: str, level: str) -> Suite:
    kinds: tuple[AssetKind, ...] = ("libero", "lite") if suite in _LITE else ("libero",)
    return Suite(
        f"{suite}_{level}",
        partial(_files, suite, level),
        _MAX_STEPS_LONG if suite == "safelibero_long" else _MAX_STEPS,
        settle_steps=_SETTLE_STEPS,
        asset_kinds=kinds,
        prepare=partial(_prepare, suite, level),
    )


SAFELIBERO_SUITES = tuple(_row(suite, level) for suite in SUITES for level in LEVELS)
