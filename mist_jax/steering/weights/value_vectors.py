"""Directions from the weights alone: feed-forward value vectors that move the action.

A value vector is what one feed-forward unit writes to the residual stream: a row of `down_proj`
(Geva et al. 2021). Häon et al. (arXiv 2509.00328) choose those near words such as "up" through the
vocabulary. An L1 head has no vocabulary, so they are chosen here by what they do to the action.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import SIGNED_MOTIONS, Array, Float
from mist_jax.signed import DIMENSION, SIGN
from mist_jax.steering.bank import Directions, unit_rows

DEFAULT_TOP = 20


def value_vector_directions(
    down_proj: Float[Array, "L F D"],
    readout: Callable[[Float[Array, "D"]], Float[Array, "A"]],
    top: int = DEFAULT_TOP,
) -> Directions:
    """Directions [V, L, D]: mean of each layer's `top` value vectors against a motion.

    Args:
      down_proj: value vectors of the layers that are steered.
      readout: the action, averaged over the chunk, when a push is added to the residual stream of
        every action token; differentiated at zero. Positive closes the gripper, as when executed.
      top: how many value vectors make a direction.

    A value vector's effect on dimension i is the derivative of action i along it, at norm 1. "x+"
    is made of those that decrease x most, weighted by how much.
    """
    jacobian = np.asarray(jax.jacrev(readout)(jnp.zeros(down_proj.shape[-1], jnp.float32)))
    values = np.asarray(down_proj, np.float32)
    values = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    effect = np.einsum("lfd,ad->lfa", values, jacobian)
    absent: dict[str, str] = {}
    facts: dict[str, dict[str, float]] = {}
    names, units = [], []
    for name, i, sign in zip(SIGNED_MOTIONS, DIMENSION, SIGN, strict=True):
        opposes = np.maximum(-sign * effect[:, :, i], 0.0)
        chosen = np.argsort(-opposes, axis=1, kind="stable")[:, :top]  # [L, top]
        weight = np.take_along_axis(opposes, chosen, axis=1)
        rows = np.take_along_axis(values, chosen[:, :, None], axis=1)
        unit = unit_rows((weight[:, :, None] * rows).sum(axis=1))
        if unit is None:
            absent[name] = "no value vector acts against it"
            continue
        moved = unit @ jacobian.T  # [L, A]
        names.append(name)
        units.append(unit)
        facts[name] = {
            "effect": float(moved[:, i].mean()),
            "effect_on_others": float(np.abs(np.delete(moved, i, axis=1)).mean()),
        }
    shape = (0, len(values), values.shape[-1])
    unit = np.stack(units) if units else np.zeros(shape, np.float32)
    return Directions("value_vectors", tuple(names), unit, absent, facts)
