"""What the action head makes of a push on the residual stream, without the layers in between."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.policy.openvla_oft.model import abstract_model
from mist_jax.policy.policy import Policy


def value_vectors_of(policy: Policy, layers: tuple[int, ...]) -> Float[Array, "L F D"]:
    """The rows of `down_proj` of these layers, float32."""
    model = _model(policy)
    kernel = model.language.blocks.down_proj.kernel[...]
    return jnp.asarray(kernel[np.asarray(layers)], jnp.float32)


def action_readout(
    policy: Policy, last_hidden: np.ndarray
) -> Callable[[Float[Array, "D"]], Float[Array, "A"]]:
    """Executed action, averaged over the chunk, as a function of a push [D] on every action token.

    The logit lens of an L1 head: final norm and action head applied where every action token holds
    `last_hidden` [D], the mean output of the last block, plus the push. Layers between the pushed
    one and the last are skipped.

    Raises:
        UserError: the policy's actions do not come from an L1 head.
    """
    config, model = policy.config, _model(policy)
    if config.action_head != "l1":
        raise UserError(
            f"value_vectors needs an L1 action head, {policy.identity} has {config.action_head!r}; "
            "leave value_vectors out of --methods"
        )
    # The head predicts an opening; executed, positive closes.
    sign = jnp.ones(len(ACTION_DIMENSIONS)).at[ACTION_DIMENSIONS.index("gripper")].set(-1.0)

    def readout(push: Float[Array, "D"]) -> Float[Array, "A"]:
        hidden = jnp.asarray(last_hidden, jnp.float32) + push
        tokens = jnp.broadcast_to(hidden, (1, config.action_tokens, config.width))
        normed = model.language.norm(tokens)
        return sign * model.action_head(normed)[0].astype(jnp.float32).mean(axis=0)

    return readout


def _model(policy: Policy):
    graph, _ = abstract_model(policy.config)
    return nnx.merge(graph, policy.parameters)
