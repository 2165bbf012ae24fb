"""A policy whose action is linear in every push: what a push does to it is known in closed form."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.intervention.intervention import NO_INTERVENTION
from mist_jax.intervention.outputs import ModelOutputs
from mist_jax.intervention.site import ModelSite
from mist_jax.intervention.tokens import role_mask
from mist_jax.policy.model import PolicyModelDefaults
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from tests.helpers.tiny import TINY_MODEL, tiny_policy

SITE, WIDTH, LAYERS, CHUNK = "llm.resid", 12, 2, 2
DIMS = len(ACTION_DIMENSIONS)


@dataclass(frozen=True)
class LinearModel(PolicyModelDefaults):
    """Layers pass on what they get; normalised action = readout^T of the one token, all steps."""

    name = "linear"
    action_dim = DIMS
    chunk = CHUNK
    preprocessing = TINY_MODEL.preprocessing

    @property
    def sites(self):
        return {SITE: ModelSite(LAYERS, WIDTH, steerable=True)}

    def abstract_parameters(self):
        return {"readout": jax.ShapeDtypeStruct((WIDTH, DIMS), "float32")}

    def collate(self, inputs, seeds):
        proprio = np.stack([one.proprio for one in inputs])
        return jnp.asarray(np.pad(proprio, ((0, 0), (0, WIDTH - proprio.shape[1]))))

    def apply(self, parameters, inputs, intervention, *, sites=(), pool="mean"):
        intervention = intervention or NO_INTERVENTION
        mask = role_mask(("action",))
        role = jnp.broadcast_to(mask, (len(inputs), 1, len(mask)))
        risk = intervention.begin(inputs).risk

        def layer(x, parts):
            x, moved, *_ = intervention.edit(SITE, x, parts, risk, role)
            return x, (x, jnp.broadcast_to(moved, (len(inputs),)))

        x, (seen, moved) = jax.lax.scan(
            layer, inputs[:, None], intervention.layered(), length=LAYERS
        )
        actions = (x[:, 0] @ parameters["readout"])[:, None].repeat(CHUNK, axis=1)
        return ModelOutputs(
            actions=actions,
            activations=dict.fromkeys(sites, seen[:, :, 0].swapaxes(0, 1)),
            gate=moved.T if intervention.steers else None,
        )


def linear_policy(seed: int = 0) -> tuple[Policy, np.ndarray]:
    """The policy, and float64 [A, D]: the executed action (gripper unturned) of a push on a token.

    Its action dimensions are read off orthogonal axes, x and y the less so.
    """
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(WIDTH, DIMS)))[0]
    axes[:, 1] += 0.3 * axes[:, 0]
    model = LinearModel()
    policy = tiny_policy(model, {"readout": jnp.asarray(axes, jnp.float32)})  # type: ignore[arg-type]
    scale = policy.preprocessor.executed_slope
    readout = axes / np.abs(scale)  # executed units of about one for a push of one
    policy = tiny_policy(model, {"readout": jnp.asarray(readout, jnp.float32)})  # type: ignore[arg-type]
    return policy, (readout * scale).T


def linear_inputs(count: int, seed: int = 0, size: float = 0.1) -> list[PolicyInputs]:
    """States whose actions are far from where they are clipped."""
    rng = np.random.default_rng(seed)
    return [
        PolicyInputs(
            images=np.zeros((1, 1, 1, 3), np.uint8),
            proprio=rng.uniform(-size, size, 8).astype(np.float32),
            token_ids=np.zeros(4, np.int32),
            prompt="",
        )
        for _ in range(count)
    ]
