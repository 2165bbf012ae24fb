"""Scenes to report on are opened once, by a study that was registered before."""

from collections.abc import Collection, Iterable, Mapping

from mist_jax.errors import UserError
from mist_jax.record.episode import UNSTEERED, EpisodeKey
from mist_jax.simulator.libero.sampled_scenes import POOLS, REPORTED, Pool

InitialStates = Mapping[int, tuple[int, ...]]  # of each task, by task id


def check_opening(initial_states: InitialStates, arms: Collection[str], *, registered: bool):
    """Makes sure that arms other than the unsteered one meet such scenes in a registered study.

    Raises:
        UserError: they would without one.
    """
    steered = [arm for arm in arms if arm != UNSTEERED]
    if registered or not steered:
        return
    for task_id, states in initial_states.items():
        for state in states:
            if pool := reported_pool(state):
                raise UserError(
                    f"--interventions={steered[0]} on the {pool} scene {state} of task {task_id}: "
                    "those are for a registered study; write it with experiments.plan_study and "
                    "give --preregistration, or choose --initial_states=tuning"
                )


def check_learning(keys: Iterable[EpisodeKey]) -> None:
    """Makes sure that nothing is learnt from scenes to report on.

    Raises:
        UserError: an episode is of such a scene.
    """
    for key in keys:
        if pool := reported_pool(key.initial_state):
            raise UserError(
                f"{key} is of a {pool} scene, which is there to report on: give data of other "
                "scenes to learn from"
            )


def reported_pool(initial_state: int) -> Pool | None:
    """The pool to report on that an initial state belongs to; None where it is in none."""
    return next((pool for pool in REPORTED if initial_state in POOLS[pool]), None)
