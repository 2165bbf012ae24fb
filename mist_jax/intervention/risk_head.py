"""The risk head: reads one layer's pooled activations, says which action dimension is dangerous.

A plain pytree of arrays, so that it enters the policy's compiled forward as an argument and can be
replaced, retrained or switched off without retracing. Layer and calibration are data too.
"""

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float, Int
from mist_jax.intervention.site import DEFAULT_SITE


@struct.dataclass
class RiskHead:
    """A two-layer perceptron with a stored normaliser and per-dimension Platt calibration.

    probability = sigmoid(platt_scale * logit + platt_shift). `layer` is the layer of `site` that is
    read (0-based); -1 reads none and reports zero risk. `site` is static. A `RiskReader`.
    """

    mean: Float[Array, "D"]
    scale: Float[Array, "D"]
    hidden_kernel: Float[Array, "D F"]
    hidden_bias: Float[Array, "F"]
    output_kernel: Float[Array, "F A"]
    output_bias: Float[Array, "A"]
    platt_scale: Float[Array, "A"]
    platt_shift: Float[Array, "A"]
    layer: Int[Array, ""]
    site: str = struct.field(pytree_node=False, default=DEFAULT_SITE)

    @classmethod
    def initial(
        cls, key: Array, *, width: int, hidden: int, layer: int, site: str = DEFAULT_SITE
    ) -> Self:
        """A fresh head with unit calibration; `key` is a JAX PRNG key."""
        first, second = jax.random.split(key)
        dims = len(ACTION_DIMENSIONS)
        return cls(
            mean=jnp.zeros((width,)),
            scale=jnp.ones((width,)),
            hidden_kernel=jax.random.normal(first, (width, hidden)) / jnp.sqrt(width),
            hidden_bias=jnp.zeros((hidden,)),
            output_kernel=jax.random.normal(second, (hidden, dims)) / jnp.sqrt(hidden),
            output_bias=jnp.zeros((dims,)),
            platt_scale=jnp.ones((dims,)),
            platt_shift=jnp.zeros((dims,)),
            layer=jnp.asarray(layer, jnp.int32),
            site=site,
        )

    @classmethod
    def off(cls, *, width: int, hidden: int = 256, site: str = DEFAULT_SITE) -> Self:
        """A head that reads nothing and reports zero risk."""
        head = cls.initial(jax.random.key(0), width=width, hidden=hidden, layer=-1, site=site)
        return jax.tree.map(jnp.zeros_like, head).replace(layer=jnp.asarray(-1, jnp.int32))

    @property
    def width(self) -> int:
        """Features of the activation it reads."""
        return self.mean.shape[-1]

    def probability(self, activation: Float[Array, "B D"]) -> Float[Array, "B A"]:
        """Calibrated probability that each dimension drives a harmful contact, float32."""
        return risk_probability(self, activation)

    def __repr__(self) -> str:
        """Short; `dimensions` are those whose calibration listens to the logits."""
        shape = getattr(self.hidden_kernel, "shape", ("?", "?"))
        shown = f"site={self.site!r}, width={shape[-2]}, hidden={shape[-1]}"
        scale = self.platt_scale
        known = isinstance(scale, (np.ndarray, jax.Array)) and not isinstance(scale, Tracer)
        if known:  # under a trace only shapes are
            alive = np.any(np.asarray(scale).reshape(-1, len(ACTION_DIMENSIONS)), axis=0).tolist()
            names = [name for name, ok in zip(ACTION_DIMENSIONS, alive, strict=True) if ok]
            layer = np.asarray(self.layer).tolist()
            shown = f"{shown}, layer={layer}, dimensions={', '.join(names) or 'none'}"
        return f"RiskHead({shown})"


def risk_logits(head: RiskHead, activation: Float[Array, "B D"]) -> Float[Array, "B A"]:
    """Uncalibrated logits, float32, from pooled activations."""
    normal = (activation.astype(jnp.float32) - head.mean) / jnp.maximum(head.scale, 1e-6)
    hidden = jax.nn.gelu(normal @ head.hidden_kernel + head.hidden_bias)
    return hidden @ head.output_kernel + head.output_bias


def risk_probability(head: RiskHead, activation: Float[Array, "B D"]) -> Float[Array, "B A"]:
    """Calibrated probability that each dimension drives a harmful contact within the horizon."""
    return jax.nn.sigmoid(head.platt_scale * risk_logits(head, activation) + head.platt_shift)
