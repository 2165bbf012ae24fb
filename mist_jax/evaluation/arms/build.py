"""What a run builds of its arms: each with the run's numbers, and the operators that all share."""

from collections.abc import Mapping, Sequence

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.evaluation.arms.push_specs import PUSHES
from mist_jax.evaluation.arms.registry import find_arm
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.intervention.gate import AlwaysOpen
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import ModelSite
from mist_jax.rollout.acting.arm import Arm, Controller
from mist_jax.rollout.episode_spec import Turn
from mist_jax.steering.causal.bank import CausalBank


def build_arms(names: Sequence[str], numbers: RunNumbers) -> dict[str, Arm]:
    """The named arms of a run with these numbers."""
    return {name: find_arm(name).make(name, numbers) for name in names}


def build_controller(
    names: Sequence[str],
    risk_head: RiskReader | None,
    numbers: RunNumbers,
    *,
    sites: Mapping[str, ModelSite],
    batch: int,
) -> Controller:
    """What all arms share: directions, conceptors, and the pushes that any of them draws from.

    Without directions there is one of zeros, at the first of the model's `sites` that can be
    steered. Pushes are for batches of `batch`.

    Raises:
        UserError: the causal bank lacks an intent that an arm needs.
    """
    causal, directions, soft = numbers.causal, numbers.directions, numbers.conceptors
    if directions is None:
        site, there = next((name, site) for name, site in sites.items() if site.steerable)
        vectors = np.zeros((1, there.layers, there.width), np.float32)
        gates = np.ones((1, len(SIGNED_MOTIONS)), np.float32)
    else:
        site = directions.metadata.site
        vectors, gates = np.asarray(directions.vectors), np.asarray(directions.gates)
    conceptor = None
    if soft is not None:
        conceptor = soft.operator(np.zeros((batch, len(soft.names))), threshold=np.inf)
    if causal is None:
        return Controller(vectors, gates, risk_head, site=site, conceptor=conceptor)
    used = dict.fromkeys(push for name in names for push in find_arm(name).pushes)

    def row(turn: Turn) -> int:
        return causal.row(turn.instruction, turn.step, turn.max_steps)

    return Controller(
        vectors,
        gates,
        risk_head,
        site=site,
        conceptor=conceptor,
        pushes={name: _push(name, causal, numbers, batch) for name in used},
        row=row,
        exact=frozenset(name for name in used if (PUSHES[name].form or numbers.form) == "exact"),
        jacobian=causal.jacobian,
    )


def _push(name: str, causal: CausalBank, numbers: RunNumbers, batch: int) -> CausalPush:
    spec = PUSHES[name]
    return causal.operator(
        batch,
        spec.form or numbers.form,
        spec.intent or numbers.intent,
        size=numbers.size,
        brake=numbers.brake if spec.waits else 0.0,
        halt=numbers.halt if spec.waits else 0.0,
        gate=None if spec.waits else AlwaysOpen(),
        noise=np.zeros((batch, *causal.table.shape[2:]), np.float32) if spec.noise else None,
    )
