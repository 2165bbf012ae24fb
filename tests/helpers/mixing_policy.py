"""A policy whose tokens mix linearly at every layer: what a patch does is known in closed form."""

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

IMAGE, ACTION = "llm.resid:image", "llm.resid"
LAYERS, WIDTH, IMAGES, CHUNK, DIMS = 3, 4, 2, 2, len(ACTION_DIMENSIONS)
TOKENS = IMAGES + 1  # the action token is the last


@dataclass(frozen=True)
class MixingModel(PolicyModelDefaults):
    """Layer l: x <- M_l x over all T * D numbers of an example; action = readout of the last."""

    name = "mixing"
    action_dim = DIMS
    chunk = CHUNK
    preprocessing = TINY_MODEL.preprocessing

    @property
    def sites(self):
        return dict.fromkeys((ACTION, IMAGE), ModelSite(LAYERS, WIDTH, steerable=True))

    def abstract_parameters(self):
        return {
            "mix": jax.ShapeDtypeStruct((LAYERS, TOKENS * WIDTH, TOKENS * WIDTH), "float32"),
            "readout": jax.ShapeDtypeStruct((WIDTH, DIMS), "float32"),
        }

    def collate(self, inputs, seeds):
        numbers = [one.images.ravel()[: TOKENS * WIDTH] / 255 for one in inputs]
        return jnp.asarray(np.stack(numbers).reshape(-1, TOKENS, WIDTH), jnp.float32)

    def apply(self, parameters, inputs, intervention, *, sites=(), pool="mean"):
        intervention = intervention or NO_INTERVENTION
        roles = jnp.stack([role_mask(("image",))] * IMAGES + [role_mask(("action",))])
        role = jnp.broadcast_to(roles, (len(inputs), *roles.shape))
        risk = intervention.begin(jnp.zeros((len(inputs), 0))).risk

        def layer(x, scanned):
            mix, parts = scanned
            mixed = (x.reshape(len(x), -1) @ mix.T).reshape(x.shape)
            x, moved, _ = intervention.edit("llm.resid", mixed, parts, risk, role)
            return x, (x, jnp.broadcast_to(moved, (len(x),)))

        x, (seen, moved) = jax.lax.scan(layer, inputs, (parameters["mix"], intervention.layered()))
        seen = seen.swapaxes(0, 1)
        of = {IMAGE: seen[:, :, :IMAGES], ACTION: seen[:, :, IMAGES:]}
        pooled = {site: of[site] if pool == "tokens" else of[site].mean(2) for site in sites}
        return ModelOutputs(
            actions=(x[:, -1] @ parameters["readout"])[:, None].repeat(CHUNK, axis=1),
            activations=pooled,
            gate=moved.T if intervention.steers else None,
        )


def mixing_policy(seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    size = TOKENS * WIDTH
    parameters = {
        "mix": jnp.asarray(rng.normal(size=(LAYERS, size, size)) / size**0.5, jnp.float32),
        "readout": jnp.asarray(rng.normal(size=(WIDTH, DIMS)), jnp.float32),
    }
    return tiny_policy(MixingModel(), parameters)  # type: ignore[arg-type]


def mixing_inputs(count: int, seed: int = 0) -> list[PolicyInputs]:
    rng = np.random.default_rng(seed)
    return [
        PolicyInputs(
            images=rng.integers(0, 256, (1, 2, 2, 3), np.uint8),
            proprio=np.zeros(8, np.float32),
            token_ids=np.zeros(4, np.int32),
            prompt="",
        )
        for _ in range(count)
    ]


def closed_by_hand(policy: Policy, recipients, donors, layer: int, tokens: list[int]) -> np.ndarray:
    """float64 [B]: the share of the gap of executed actions that a patch closes, with numpy."""
    mix = np.asarray(policy.parameters["mix"], float)
    readout = np.asarray(policy.parameters["readout"], float)
    readout = readout * policy.preprocessor.executed_slope
    model, closed = policy.model, []
    for one, other in zip(recipients, donors, strict=True):
        x, y = (np.asarray(model.collate([z], None), float).ravel() for z in (one, other))
        patched = x
        for index, matrix in enumerate(mix):
            x, y, patched = matrix @ x, matrix @ y, matrix @ patched
            if index == layer:
                rows = np.concatenate([np.arange(WIDTH) + WIDTH * token for token in tokens])
                patched[rows] = y[rows]
        own, wanted, got = (z[-WIDTH:] @ readout for z in (x, y, patched))
        closed.append((got - own) @ (wanted - own) / ((wanted - own) @ (wanted - own)))
    return np.asarray(closed)
