"""Whether a run has what its arms need."""

from collections.abc import Collection, Sequence

from mist_jax.errors import UserError
from mist_jax.evaluation.arms.registry import arm_rows, find_arm
from mist_jax.evaluation.arms.row import Need

_LACKING: dict[Need, str] = {
    "risk": "listens to alarms: give --risk_head",
    "bank": "pushes along directions: give --steering_vectors",
    "rate": "needs --gate_rate, the share of queries at which each dimension alarms; summary.json "
    "of a run with an arm that listens to alarms gives it as alarm_rate",
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
