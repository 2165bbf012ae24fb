"""A policy of another architecture: a perceptron over proprio with one site."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.intervention.intervention import NO_INTERVENTION
from mist_jax.intervention.outputs import ModelOutputs
from mist_jax.intervention.site import ModelSite
from mist_jax.intervention.tokens import role_mask
from mist_jax.policy.architectures import PRESETS
from mist_jax.policy.model import PolicyModelDefaults

SITE, DIMS = "llm.hidden", len(ACTION_DIMENSIONS)


@dataclass(frozen=True)
class Perceptron(PolicyModelDefaults):
    """Its size is its fields; everything else of it is said here."""

    width: int = 8
    layers: int = 3
    name = "perceptron"
    action_dim = DIMS
    chunk = 2
    preprocessing = PRESETS["mist-nano"].preprocessing

    @property
    def sites(self):
        """Where it can be read and steered."""
        return {SITE: ModelSite(self.layers, self.width, steerable=True)}

    def abstract_parameters(self):
        """Shapes, nested as the parameters are."""
        hidden = (self.layers, self.width, self.width)
        shapes = {"in": (8, self.width), "hidden": hidden, "out": (self.width, 2 * DIMS)}
        return {k: {"kernel": jax.ShapeDtypeStruct(s, "float32")} for k, s in shapes.items()}

    def collate(self, inputs, seeds):
        """Examples as one batch."""
        return jnp.stack([jnp.asarray(one.proprio) for one in inputs])

    def example_inputs(self, batch):
        """For timing."""
        return np.random.default_rng(0).uniform(-1, 1, (batch, 8)).astype(np.float32)

    def apply(self, parameters, inputs, intervention, *, sites=(), pool="mean"):
        """Calls the intervention at its site of every layer; one action token is the sequence."""
        intervention = intervention or NO_INTERVENTION
        x = (inputs @ parameters["in"]["kernel"])[:, None]
        mask = role_mask(("action",))
        role = jnp.broadcast_to(mask, (*x.shape[:2], len(mask)))

        def layer(carry, scanned):
            (x, read), (index, kernel, parts) = carry, scanned
            x, moved, wanted = intervention.edit(SITE, jnp.tanh(x @ kernel), parts, read.risk, role)
            read = intervention.read(SITE, index, lambda: x.mean(1), read)
            return (x, intervention.forecast(index, read)), (x, jnp.asarray(moved), wanted)

        start = x, intervention.begin(inputs)
        each = jnp.arange(self.layers), parameters["hidden"]["kernel"], intervention.layered()
        (x, read), (seen, moved, wanted) = jax.lax.scan(layer, start, each)
        read = intervention.finish(read)
        seen = seen.swapaxes(0, 1)
        return ModelOutputs(
            actions=(x @ parameters["out"]["kernel"]).reshape(-1, 2, DIMS),
            activations={site: seen if pool == "tokens" else seen.mean(2) for site in sites},
            risk=None if intervention.risk_head is None else read.risk,
            memory=read.memory,
            gate=moved.T if intervention.steers else None,
            wanted=None if wanted is None else wanted.sum(axis=0),
        )


ARCHITECTURES = (Perceptron,)
