"""Whether a run was given what its arms need; asked before anything is loaded."""

from collections.abc import Collection, Sequence

from mist_jax.errors import UserError
from mist_jax.evaluation.arms.registry import arm_rows, find_arm
from mist_jax.evaluation.arms.row import Need

_LACKING: dict[Need, str] = {
    "risk": "listens to alarms: give --risk_head",
    "causal": "pushes for a wanted change of the action: give --causal_bank",
    "directions": "pushes along directions: give --steering_vectors",
    "conceptors": "draws activations into conceptors: give --steering_vectors",
    "replay": "replays what mist wanted: give --replay_from, an earlier evaluation with mist",
    "oracle": "knows where the unsteered policy hits something: give --oracle_from, unsteered "
    "episodes of the same scenes and seeds",
}


def check_arms(names: Sequence[str], given: Collection[Need]) -> None:
    """Checks the arms of a run against what it was given.

    Raises:
        UserError: an unknown or repeated arm, or one that needs what is missing.
    """
    if not names:
        raise UserError(f"--interventions is empty; choose from {', '.join(arm_rows())}")
    for name in names:
        for need in find_arm(name).needs:
            if need not in given:
                raise UserError(f"--interventions={name} {_LACKING[need]}")
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise UserError(f"--interventions names {repeated[0]!r} twice")
