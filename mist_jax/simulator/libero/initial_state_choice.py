"""What a choice of initial states means for each task: ids, ranges, and names of pools."""

from collections.abc import Iterable
from typing import cast

from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.simulator.libero.initial_states import load_initial_states
from mist_jax.simulator.libero.sampled_scenes import POOLS, SAMPLED, Pool, check_initial_state
from mist_jax.simulator.libero.scene_table import SceneTable
from mist_jax.simulator.libero.suite import Suite, Task


def choose_initial_states(
    suite: Suite, task_ids: Iterable[int], text: str
) -> dict[int, tuple[int, ...]]:
    """The initial states of each task, ascending.

    Args:
      suite: whose tasks they are.
      task_ids: tasks of the suite.
      text: nothing for all published states; else, separated by commas, ids ("7"), ranges ("0-29";
        from 1000 on they are sampled), `tuning`, `sealed` or `study` for the accepted scenes of a
        pool, and `tuning:20` for the first 20 of a task.

    Raises:
      UserError: `text` is not of this form, a task has no such state, or the suite has no table of
        accepted scenes, or too few of them.
    """
    tasks = [suite.tasks[task_id] for task_id in task_ids]
    if not text.strip():
        return {task.task_id: tuple(range(_published(task))) for task in tasks}
    words = [word.strip() for word in text.split(",")]
    pools = [word for word in words if word.partition(":")[0] in POOLS]
    others = [word for word in words if word not in pools]
    chosen: dict[int, set[int]] = {task.task_id: set() for task in tasks}
    if others:
        ids = parse_ids(",".join(others) or ",", SAMPLED.stop, "initial state")
        for task in tasks:
            _check(ids, task)
            chosen[task.task_id].update(ids)
    for word in pools:
        for task_id, accepted in _accepted(suite, list(chosen), word).items():
            chosen[task_id].update(accepted)
    return {task_id: tuple(sorted(ids)) for task_id, ids in chosen.items()}


def _accepted(suite: Suite, task_ids: list[int], word: str) -> dict[int, tuple[int, ...]]:
    name, colon, number = word.partition(":")
    pool = cast(Pool, name)
    if colon and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise UserError(f"initial states {word!r}: write {pool}, or {pool}:20 for 20 of each task")
    how = f"python -m experiments.sample_scenes --env={suite.name} --pool={pool}"
    if suite.scenes is None:
        raise UserError(
            f"{suite.name} names no table of accepted scenes: give ids ({POOLS[pool][0]} to "
            f"{POOLS[pool][-1]}), or make one ({how})"
        )
    table = SceneTable.read(suite.scenes)
    if table.suite != suite.plain_suite:
        raise UserError(f"{suite.scenes} holds scenes of {table.suite}, not of {suite.plain_suite}")
    scenes = {task_id: table.pools[pool].get(task_id, ()) for task_id in task_ids}
    least = int(number) if colon else 1
    for task_id, accepted in scenes.items():
        if len(accepted) < least:
            raise UserError(
                f"initial states {word!r}: {suite.name} task {task_id} has {len(accepted)} "
                f"accepted scenes; sample more ({how})"
            )
    return {task_id: ids[: least if colon else None] for task_id, ids in scenes.items()}


def _check(ids: tuple[int, ...], task: Task) -> None:
    if all(one in SAMPLED for one in ids):
        return  # a new task may have no file of states
    published = _published(task)
    for one in ids:
        check_initial_state(one, published)


def _published(task: Task) -> int:
    return len(load_initial_states(task))
