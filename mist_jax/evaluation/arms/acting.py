"""Whether each arm of a run can act at some query with what it was given."""

from collections.abc import Mapping

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.push_specs import CANDIDATES, PUSHES
from mist_jax.evaluation.arms.registry import find_arm
from mist_jax.evaluation.arms.row import ArmRow
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.intervention.intent.along_normal import AlongNormal
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import ModelSite
from mist_jax.rollout.acting.arm import Arm
from mist_jax.signed import DIMENSION, named
from mist_jax.steering.bank import SteeringBank
from mist_jax.steering.causal.bank import AGAINST_MOTION
from mist_jax.steering.conceptors.bank import ConceptorBank


def check_acting(
    arms: Mapping[str, Arm],
    numbers: RunNumbers,
    reader: RiskReader | None,
    sites: Mapping[str, ModelSite],
    depth: int,
) -> None:
    """Checks that what a run was given lets each arm act at some query.

    A threshold of 1, which no risk exceeds, is left alone: somebody asked for a silent run.

    Args:
        arms: those of the run.
        numbers: what they were built of.
        reader: reads risk; None without a risk head.
        sites: of the model.
        depth: layers that can be steered.

    Raises:
        UserError: an arm that would leave every episode as the unsteered policy's.
    """
    first = _first_open(reader, sites, depth)
    for name, arm in arms.items():
        row = find_arm(name)
        why = ""
        if "risk" in row.needs and not np.isfinite(numbers.alarm_threshold).any():
            why = "the risk head never alarms of any motion; train it on more contacts, or give "
            why += "--risk_threshold"
        elif "directions" in row.needs:
            assert numbers.directions is not None
            steered = np.flatnonzero(np.asarray(numbers.directions.vectors).any(axis=(0, 2)))
            why = _idle_rival("direction", numbers.directions, steered, numbers, first)
        elif "conceptors" in row.needs:
            assert numbers.conceptors is not None
            steered = np.asarray(numbers.conceptors.metadata.layers)
            why = _idle_rival("conceptor", numbers.conceptors, steered, numbers, first)
        elif "causal" in row.needs:
            why = _idle_push(row, numbers, first)
        elif arm.shrink > 0 and first >= depth:
            why = "there is no later layer to act at; train the risk head with a lower --max_layer"
        if why:
            read = "" if reader is None else f" (risk is read up to layer {int(reader.layer)})"
            raise UserError(f"--interventions={name} cannot act{read}: {why}")


def _first_open(reader: RiskReader | None, sites: Mapping[str, ModelSite], depth: int) -> int:
    """The first layer at which a gate that waits for risk can be open; `depth`: none."""
    if reader is None or int(reader.layer) < 0:
        return depth
    stages = {sites[site].stage for site in reader.sites}
    if "after" in stages:
        return depth
    return int(reader.layer) + 1 if "within" in stages else 0


def _idle_push(row: ArmRow, numbers: RunNumbers, first: int) -> str:
    """Why no causal push of an arm can act, or nothing."""
    causal = numbers.causal
    assert causal is not None
    waits = any(PUSHES[push].waits for push in row.pushes)
    if waits and causal.metadata.layer < first:
        return (
            f"the causal bank pushes at layer {causal.metadata.layer}, before risk can open a "
            f"push; extract one with --causal_layers={first} or later, or train the risk head with "
            "a lower --max_layer"
        )
    if not waits:
        needs_size = "oracle" in row.needs
        return "--coefficient=0 moves nothing" if needs_size and not numbers.size[:3].any() else ""
    if CANDIDATES in row.pushes:
        tried = np.asarray(causal.action_value().candidates).any(axis=0)
        none = "--coefficient and --rotation_coefficient move no dimension that the branches tried"
        return "" if numbers.size[tried].any() else none
    along_normal = isinstance(causal.intents.get(numbers.intent), AlongNormal)
    if along_normal and not numbers.size[0]:
        return "--coefficient=0 moves nothing"
    if numbers.intent == AGAINST_MOTION and not _moved(numbers).any():
        if not numbers.size.any():
            return "--coefficient=0 and --rotation_coefficient=0 move nothing"
        return (
            "no motion that alarms is one that --coefficient (x, y, z) or --rotation_coefficient "
            "(roll, pitch, yaw) moves; give both, or train the risk head on more contacts"
        )
    return ""


def _moved(numbers: RunNumbers) -> np.ndarray:
    """bool [M]: the signed motions that can alarm and whose dimension has a size."""
    assert len(numbers.alarm_threshold) == len(SIGNED_MOTIONS)
    return np.isfinite(numbers.alarm_threshold) & (numbers.size[DIMENSION] != 0)


def _idle_rival(
    what: str,
    bank: SteeringBank | ConceptorBank,
    steered: np.ndarray,
    numbers: RunNumbers,
    first: int,
) -> str:
    """Why no direction or conceptor of the bank can act, or nothing; `steered` are its layers."""
    gates = np.asarray(bank.gates) > 0  # [V, M]
    if not numbers.size.any():
        return "--coefficient=0 and --rotation_coefficient=0 push nothing"
    dosed = bank.dosed(numbers.size) != 0  # [V]
    if not dosed.any():
        return (
            f"no {what} of a dimension that --coefficient or --rotation_coefficient moves has a "
            "measured effect; extract them from episodes with pictures (--images=query)"
        )
    if not (steered >= first).any():
        return (
            f"the bank steers layers {steered.tolist()}, all of them before risk can open a push; "
            f"extract {what}s of layers from {first} on, or train the risk head with a lower "
            "--max_layer"
        )
    if not gates.any():
        return f"no {what} of the bank listens to any motion; extract the bank again"
    listens = np.asarray(gates[dosed].any(axis=0))
    alarms = np.isfinite(numbers.alarm_threshold)
    if not (listens & alarms).any():
        heard, alarming = (", ".join(named(which)) or "nothing" for which in (listens, alarms))
        return (
            f"no {what} that may act listens to a motion that alarms: they listen to {heard}, and "
            f"what alarms is {alarming}; extract more of them, or train the risk head on more "
            "contacts"
        )
    return ""
