"""Flags of what arms are made of: risk head, banks, sizes of what is wanted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from absl import flags

from mist_jax.commands.flags.folders import folder_of

if TYPE_CHECKING:
    from absl.flags import FlagHolder

    from mist_jax.evaluation.arms.beforehand.oracle import Oracle
    from mist_jax.evaluation.arms.beforehand.replays import Replays
    from mist_jax.evaluation.arms.row import Need
    from mist_jax.evaluation.arms.run_numbers import RunNumbers
    from mist_jax.evaluation.learnt_parts import LearntParts
    from mist_jax.policy.policy import Policy
    from mist_jax.rollout.acting.release import Release
    from mist_jax.steering.causal.bank import Form

RISK_HEAD = flags.DEFINE_string("risk_head", None, "Folder that train_risk_predictor wrote.")
CAUSAL_BANK = flags.DEFINE_string(
    "causal_bank", None, "Folder that extract_steering_vectors wrote: pushes by the Jacobian."
)
STEERING_VECTORS = flags.DEFINE_string(
    "steering_vectors",
    None,
    "Folder that extract_steering_vectors wrote: directions, and conceptors for the arm conceptor.",
)
INTENT = flags.DEFINE_string(
    "intent",
    "against_motion",
    "What is wanted at an alarm: against_motion, upward, or another of the causal bank's intents.",
)
PUSH = flags.DEFINE_enum(
    "push",
    "table",
    ["table", "linear", "exact"],
    "The Jacobian that pushes are made by: averages of tasks and phases (table), one that follows "
    "the activations (linear), or that of the query's own inputs (exact: more than a second pass).",
)
COEFFICIENT = flags.DEFINE_float(
    "coefficient",
    0.08,
    "Size of a wanted change in x, y or z: metres commanded over a chunk.",
    0.0,
    0.4,
)
ROTATION_COEFFICIENT = flags.DEFINE_float(
    "rotation_coefficient",
    0.4,
    "Size of a wanted change in roll, pitch or yaw: radians commanded over a chunk.",
    0.0,
    4.0,
)
BRAKE = flags.DEFINE_float(
    "brake",
    0.0,
    "Share of the policy's own motion against the wanted change that is taken away as well: with 1 "
    "an approach is stopped, then pushed off.",
    0.0,
    1.0,
)
HALT = flags.DEFINE_float(
    "halt",
    0.0,
    "Share of the policy's own motion across the wanted change that is taken away as well: with "
    "--brake=1 and 1 here the arm does only what is wanted.",
    0.0,
    1.0,
)
RELEASE = flags.DEFINE_integer(
    "release",
    0,
    "Alarms in a row after which a push lets go until no motion alarms any more; 0: never.",
    0,
)
HOLD = flags.DEFINE_float(
    "hold",
    1.0,
    "Share of its threshold that the risk of a motion that alarms must fall to for its alarm to "
    "end: below 1 a push does not flicker.",
    0.01,
    1.0,
)
METHOD = flags.DEFINE_string("method", "contrast", "Which of the steering vectors push.")
ALLOW_UNPROVEN = flags.DEFINE_bool(
    "allow_unproven",
    False,
    "Push along steering vectors also where they were measured not to do what their names say.",
)
RISK_THRESHOLD = flags.DEFINE_list(
    "risk_threshold",
    [],
    "Risk above which a motion alarms: one number, one per dimension or one per signed motion; "
    "default: as the risk head was calibrated.",
)


def parts() -> "dict[Need, FlagHolder[Any]]":
    """The flag that gives what an arm may need."""
    return {
        "risk": RISK_HEAD,
        "causal": CAUSAL_BANK,
        "directions": STEERING_VECTORS,
        "conceptors": STEERING_VECTORS,
    }


def learnt_parts(policy: "Policy", arms: Sequence[str]) -> "LearntParts":
    """What the flags name, restored and checked against the policy.

    Of steering vectors the kinds that an arm uses are taken, directions where none uses any.
    """
    from mist_jax.evaluation.arms.registry import find_arm
    from mist_jax.evaluation.learnt_parts import load_learnt_parts

    needs = {need for arm in arms for need in find_arm(arm).needs}
    vectors, soft = folder(STEERING_VECTORS), "conceptors" in needs
    return load_learnt_parts(
        policy,
        risk=folder(RISK_HEAD),
        causal=folder(CAUSAL_BANK),
        directions=vectors if "directions" in needs or not soft else None,
        conceptors=vectors if soft else None,
        method=METHOD.value,
        allow_unproven=ALLOW_UNPROVEN.value,
    )


def asked_threshold() -> np.ndarray | None:
    """`--risk_threshold`, float [M]; None where the risk head's own is meant."""
    from mist_jax.evaluation.run_setup import per_motion

    if not RISK_THRESHOLD.value:
        return None
    return per_motion(RISK_THRESHOLD.value, "--risk_threshold", most=1.0)


def run_numbers(
    learnt: "LearntParts",
    threshold: np.ndarray,
    chunk: int,
    *,
    replays: "Replays | None" = None,
    oracle: "Oracle | None" = None,
) -> "RunNumbers":
    """The numbers of a run's arms; sizes are those of a chunk of `chunk` actions."""
    from mist_jax.action_units import to_units
    from mist_jax.evaluation.arms.run_numbers import RunNumbers

    lengths = (COEFFICIENT.value, ROTATION_COEFFICIENT.value) if learnt.pushes else (0.0, 0.0)
    return RunNumbers(
        alarm_threshold=np.asarray(threshold, np.float32),
        size=to_units(*lengths, chunk),
        brake=BRAKE.value if learnt.causal is not None else 0.0,
        halt=HALT.value if learnt.causal is not None else 0.0,
        release=release(learnt),
        causal=learnt.causal,
        intent=INTENT.value,
        form=cast("Form", PUSH.value),
        directions=learnt.directions,
        conceptors=learnt.conceptors,
        replays=replays,
        oracle=oracle,
    )


def release(learnt: "LearntParts") -> "Release":
    """When pushes let go; never where nothing pushes."""
    from mist_jax.rollout.acting.release import Release

    return Release(RELEASE.value, HOLD.value) if learnt.pushes else Release()


def folder(flag: "FlagHolder[Any]") -> Path | None:
    """The folder that a flag names, if any."""
    return folder_of(flag.value) if flag.value else None
