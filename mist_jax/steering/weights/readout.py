"""What the action head makes of a push on the residual stream, without the layers in between."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.policy.model import ReadsOutEarly
from mist_jax.policy.policy import Policy


def value_vectors_of(policy: Policy, layers: tuple[int, ...]) -> Float[Array, "L F D"]:
    """What each unit of these layers' feed-forward parts writes, float32.

    Raises:
        UserError: the policy's architecture does not tell.
    """
    return _model(policy).value_vectors(policy.parameters, layers)


def action_readout(
    policy: Policy, last_hidden: np.ndarray
) -> Callable[[Float[Array, "D"]], Float[Array, "A"]]:
    """Executed action, averaged over the chunk, as a function of a push [D] on every action token.

    The logit lens of an action head, applied where every action token holds `last_hidden` [D], the
    mean output of the last layer, plus the push. Layers between the pushed one and the last are
    skipped.

    Raises:
        UserError: the policy's actions cannot be read out so.
    """
    model, parameters = _model(policy), policy.parameters
    # The head predicts an opening; executed, positive closes.
    sign = jnp.ones(policy.model.action_dim).at[ACTION_DIMENSIONS.index("gripper")].set(-1.0)
    hidden = jnp.asarray(last_hidden, jnp.float32)

    def readout(push: Float[Array, "D"]) -> Float[Array, "A"]:
        return sign * model.decode(parameters, hidden + push).mean(axis=0)

    try:
        readout(jnp.zeros_like(hidden))
    except UserError as error:
        raise UserError(f"{_advice(policy)}: {error}") from error
    return readout


def _model(policy: Policy) -> ReadsOutEarly:
    if not isinstance(policy.model, ReadsOutEarly):
        raise UserError(f"{_advice(policy)}: {policy.model.name} has no readout")
    return policy.model


def _advice(policy: Policy) -> str:
    return f"leave value_vectors out of --methods for {policy.identity}"
