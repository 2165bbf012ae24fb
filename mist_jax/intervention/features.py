"""What intents and action maps look at: activations pooled by role, and a few numbers of them."""

from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.tokens import role_mask


def pooled_roles(
    x: Float[Array, "B T D"], token_role: Float[Array, "B T R"], roles: tuple[str, ...]
) -> Float[Array, "B features"]:
    """The mean over each role's tokens, one after the other, float32 [B, len(roles) * D].

    What the sites `llm.resid`, `llm.resid:image`, ... give at that layer; 0 for a role without
    tokens.
    """
    masks = jnp.stack([role_mask((role,)) for role in roles])  # [roles, R]
    chosen = jnp.einsum("btr,nr->bnt", token_role, masks)
    total = jnp.einsum("bnt,btd->bnd", chosen, x.astype(jnp.float32), precision="highest")
    mean = total / jnp.maximum(chosen.sum(-1), 1)[..., None]
    return mean.reshape(len(x), -1)


@struct.dataclass
class Projection:
    """z = (features - mean) @ basis / scale: a few numbers of many features, float32."""

    mean: Float[Array, "features"]
    basis: Float[Array, "features k"]
    scale: Float[Array, "k"]

    @classmethod
    def of(cls, mean: ArrayLike, basis: ArrayLike, scale: ArrayLike) -> Self:
        """From arrays [F], [F, k] and [k].

        Raises:
            UserError: a shape does not fit, a value is not finite, or a scale is not positive.
        """
        arrays = [np.asarray(part, np.float32) for part in (mean, basis, scale)]
        centre, axes, spread = arrays
        if axes.ndim != 2 or axes.shape != (centre.size, spread.size) or centre.ndim != 1:
            raise UserError(
                "a projection needs mean [features], basis [features, k] and scale [k], not "
                f"{centre.shape}, {axes.shape} and {spread.shape}"
            )
        if not all(np.isfinite(part).all() for part in arrays) or (spread <= 0).any():
            raise UserError("a projection's numbers must be finite and its scales positive")
        return cls(*map(jnp.asarray, arrays))

    def __call__(self, features: Float[Array, "B features"]) -> Float[Array, "B k"]:
        """The numbers of each example."""
        return ((features - self.mean) @ self.basis) / self.scale
