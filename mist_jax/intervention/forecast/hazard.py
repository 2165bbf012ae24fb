"""Discrete-time hazard: an event's probability in each window, given that none came before.

Singer & Willett (1993). Within the horizon the event comes unless it stays away in every window.
"""

import jax
import jax.numpy as jnp

from mist_jax.axes import Array, Float

LARGEST_LOGIT = 80.0  # exp of it, and of its opposite, are still normal numbers of float32
CERTAIN = 1e-6  # probabilities are kept this far from 0 and 1 before their logit is taken


def horizon_logit(hazard: Float[Array, "*rest W M"]) -> Float[Array, "*rest M"]:
    """Logit of 1 - prod_w (1 - sigmoid(hazard_w)): of an event in any window; float32."""
    hazard = jnp.clip(hazard.astype(jnp.float32), -LARGEST_LOGIT, LARGEST_LOGIT)
    survival = jax.nn.log_sigmoid(-hazard).sum(axis=-2)  # log of the probability that none comes
    return jnp.log(-jnp.expm1(survival)) - survival


def safe_logit(probability: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Logit of a probability, finite also at 0 and 1."""
    kept = jnp.clip(probability, CERTAIN, 1 - CERTAIN)
    return jnp.log(kept) - jnp.log1p(-kept)
