"""A causal bank of a tiny policy: its own Jacobians, of inputs that nobody else sees."""

import jax.numpy as jnp
import numpy as np

from mist_jax.intervention.features import Projection
from mist_jax.intervention.intent.action_value import ActionValue, OutcomeModel
from mist_jax.policy.policy import Policy
from mist_jax.record.episode import EpisodeKey
from mist_jax.steering.causal.bank import CausalBank, CausalMetadata
from tests.helpers.rollout_samples import SMALL, inputs_of

LAYER, PHASES, RANK = 2, 2, 3


def tiny_causal_bank(policy: Policy, layer: int = LAYER, states: int = 4, **changes) -> CausalBank:
    """One instruction, two phases, one push for all action tokens; `changes` of its metadata."""
    keys = [EpisodeKey("libero_spatial", 0, 5 * state, 9) for state in range(states)]
    inputs = [inputs_of(key, 16) for key in keys]
    found = policy.jacobian(inputs, layer=layer, tokens=("action",), per_token=False)
    mean = found.mean(axis=0)  # [A, 1, D]
    metadata = CausalMetadata(
        model=policy.identity,
        layer=layer,
        layers=SMALL.layers,
        chunk=8,
        instructions=("pick up the bowl",),
        edges=(0.5,),
        damping={"table": 1e-3, "linear": 1e-3, "exact": 1e-3},
        per_token=False,
    )
    rng = np.random.default_rng(layer)
    rows = (len(metadata.instructions) + 1) * PHASES
    return CausalBank(
        table=jnp.asarray(np.stack([mean] * rows)),
        projection=Projection.of(
            np.zeros(SMALL.width), rng.normal(size=(SMALL.width, 2)), np.ones(2)
        ),
        terms=jnp.asarray(np.stack([mean, 0 * mean, 0 * mean])),
        covariance=jnp.asarray(rng.normal(size=(RANK, 1, SMALL.width)), jnp.float32),
        own=jnp.asarray(rng.normal(size=(3, len(mean))), jnp.float32),
        intents={},
        effects={},
        metadata=CausalMetadata(**{**vars(metadata), **changes}),
    )


def tiny_action_value(bank: CausalBank, size: np.ndarray, margin: float = 0.0) -> ActionValue:
    """Less harm the further up, and by what the activations say along x and y; success is flat."""
    rng = np.random.default_rng(11)
    dims = len(size)
    offset, interaction = np.zeros(2 * dims), np.zeros((2, 2 * dims))
    offset[2], offset[dims : dims + 3] = -4.0, 0.5
    interaction[:, :2] = rng.normal(size=(2, 2))
    nothing = OutcomeModel.of(0.0, np.zeros(2), np.zeros(2 * dims), np.zeros((2, 2 * dims)))
    tried = np.concatenate([np.diag(size)[:3], -np.diag(size)[:3]])
    return ActionValue.of(
        bank.projection,
        tried,
        np.where(size > 0, size, 1),
        OutcomeModel.of(0.3, np.zeros(2), offset, interaction),
        nothing,
        price=0.01,
        weight=0.5,
        margin=margin,
    )
