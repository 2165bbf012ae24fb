"""The table of suites: LIBERO's, the cluttered ones, SafeLIBERO's, those of MIST_EXTENSIONS."""

from collections.abc import Mapping
from types import MappingProxyType

from mist_jax.errors import UserError
from mist_jax.extensions import extension_rows
from mist_jax.simulator.libero.cluttered_suites import CLUTTERED_SUITES
from mist_jax.simulator.libero.libero_suites import LIBERO_SUITES
from mist_jax.simulator.libero.safelibero_suites import SAFELIBERO_SUITES
from mist_jax.simulator.libero.suite import Suite, Task
from mist_jax.simulator.libero.varied_suite import vary
from mist_jax.simulator.variation.levels import AXES, Variation

# Those that need no extension; SafeLIBERO's need its files.
OWN_SUITES = (*LIBERO_SUITES, *CLUTTERED_SUITES, *SAFELIBERO_SUITES)


def suites() -> Mapping[str, Suite]:
    """Every suite by name; a module named in MIST_EXTENSIONS adds those in its `SUITES`.

    Raises:
      UserError: an extension cannot be used, or two suites have one name.
    """
    rows: dict[str, Suite] = {}
    for suite in (*OWN_SUITES, *extension_rows("SUITES", Suite)):
        if suite.name in rows:
            raise UserError(f"two suites are called {suite.name!r}: rename the extension's")
        rows[suite.name] = suite
    return MappingProxyType(rows)


def find_suite(name: str) -> Suite:
    """One suite: a row of the table, or one varied as its name says (`libero_spatial_camera2`).

    Raises:
      UserError: it is unknown, or varied in no way that there is.
    """
    rows = suites()
    if name in rows:
        return rows[name]
    varied = Variation.of_name(name)
    if varied is not None and varied[0] in rows:
        return vary(rows[varied[0]], varied[1])
    raise UserError(
        f"there is no suite {name!r}: valid ones are {', '.join(rows)}, or one of a module that "
        f"--extensions names; each also varied by {', '.join(AXES)}, such as libero_spatial_camera1"
    )


def load_suite(name: str) -> tuple[Task, ...]:
    """The tasks of a suite, by task id. Raises UserError for an unknown suite."""
    return find_suite(name).tasks


def load_task(suite: str, task_id: int) -> Task:
    """One task. Raises UserError for an unknown suite or task id."""
    tasks = load_suite(suite)
    if not 0 <= task_id < len(tasks):
        raise UserError(f"{suite} has no task {task_id}: valid ids are 0 to {len(tasks) - 1}")
    return tasks[task_id]
