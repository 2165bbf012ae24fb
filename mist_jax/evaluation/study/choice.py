"""Scenes to choose by and scenes to report on are others."""

from collections.abc import Sequence

from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.study.endpoint import Endpoint
from mist_jax.evaluation.study.opening import InitialStates, reported_pool
from mist_jax.record.episode import EpisodeKey


def check_tuning(results: Sequence[EpisodeResult], endpoints: Sequence[Endpoint]) -> None:
    """Makes sure that an evaluation is one to choose by: its scenes are not to report on.

    Raises:
        UserError: some are, they are of several suites, or an arm of the endpoints was not run.
    """
    for result in results:
        if pool := reported_pool(result.initial_state):
            raise UserError(
                f"--tuning has met the {pool} scene {result.initial_state} of task "
                f"{result.task_id}: coefficients and thresholds come from other scenes"
            )
    suites = sorted({result.suite for result in results})
    if len(suites) > 1:
        raise UserError(f"--tuning is of several suites ({', '.join(suites)}): give one of them")
    arms = {result.arm for result in results}
    lacking = [a for one in endpoints for a in (one.arm, one.against) if a not in arms]
    if lacking:
        raise UserError(
            f"--tuning has no episode of the arm {lacking[0]}: run on tuning scenes what the "
            "study will run"
        )


def check_unseen(suite: str, initial_states: InitialStates, tuned: EpisodeResult) -> None:
    """Makes sure that policy and risk head have not learnt from the scenes of a study.

    Of banks nobody knows scenes: the commands that make them refuse such data (`check_learning`).

    Args:
        suite: whose scenes they are.
        initial_states: those.
        tuned: an episode of the tuning evaluation, for what its policy and risk head know.

    Raises:
        UserError: a scene is not of a pool to report on, or policy or risk head was trained on it.
    """
    for task_id, states in initial_states.items():
        for state in states:
            scene = f"the scene {state} of task {task_id}"
            if reported_pool(state) is None:
                raise UserError(f"{scene} is not one to report on: give --initial_states=study")
            if tuned.setup.policy_saw(suite, state):
                raise UserError(f"the policy was trained on {scene}: choose others")
            if tuned.setup.seen_in_training(EpisodeKey(suite, task_id, state, 0), ""):
                raise UserError(f"the risk head was trained on {scene}: choose others")
