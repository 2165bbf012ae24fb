"""What a learned push is judged by while it is learned, and its gradient."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mist_jax.axes import Array, Float
from mist_jax.intervention.gate import AlwaysOpen
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.steering import Steering
from mist_jax.policy.forward import run_model
from mist_jax.policy.model import PolicyModel


@struct.dataclass
class CommonPush:
    """One push for every state: at layer l, `amount * length[l]` along `direction[l]`.

    `direction` need not have norm 1; only where it points counts. The amount, kept by its
    logarithm, is what a bank calls a coefficient, `length` the mean norm of the activations.
    """

    direction: Float[Array, "L D"]
    log_amount: Float[Array, ""]

    @property
    def amount(self) -> Float[Array, ""]:
        """Positive: a push that turns around is another direction."""
        return jnp.exp(self.log_amount)

    def unit(self) -> Float[Array, "L D"]:
        """Directions at norm 1; zero where there is none."""
        square = (self.direction**2).sum(-1, keepdims=True)
        return self.direction / jnp.sqrt(jnp.maximum(square, 1e-24))  # with a gradient also at zero


@struct.dataclass
class PushGoal:
    """What is wanted of a push, and the place it acts at.

    `wanted` is a change of the executed action, averaged over the chunk, before the clip;
    `executed_slope` [A] turns normalised actions into executed ones (`Preprocessor`).
    """

    wanted: Float[Array, "A"]
    executed_slope: Float[Array, "A"]
    length: Float[Array, "L"]  # 0 at layers that are left alone
    penalty: Float[Array, ""]
    tokens: Float[Array, "R"]
    site: str = struct.field(pytree_node=False)


def mean_action(
    model: PolicyModel,
    parameters: dict[str, Any],
    inputs: Any,
    vectors: Float[Array, "L D"],
    goal: PushGoal,
) -> Float[Array, "B A"]:
    """Executed action, averaged over the chunk, before clip and gripper's turn, under a push."""
    batch = jax.tree.leaves(inputs)[0].shape[0]
    steering = Steering(
        vectors=vectors[None],
        coefficient=jnp.ones((batch, 1), jnp.float32),
        shrink=jnp.zeros(batch, jnp.float32),
        gate=AlwaysOpen(),
        tokens=goal.tokens,
        site=goal.site,
    )
    outputs = run_model(model, parameters, inputs, Intervention(None, (steering,)))
    return outputs.actions.mean(axis=1) * goal.executed_slope


def push_loss(
    push: CommonPush,
    model: PolicyModel,
    parameters: dict[str, Any],
    inputs: Any,
    alone: Float[Array, "B A"],
    goal: PushGoal,
) -> Float[Array, ""]:
    """mean_b |a(h + p) - a(h) - wanted|^2 / |wanted|^2 + penalty * amount^2.

    `alone` is a(h): `mean_action` without a push. The other dimensions are wanted to stay.
    """
    vectors = push.amount * goal.length[:, None] * push.unit()
    change = mean_action(model, parameters, inputs, vectors, goal) - alone
    missed = ((change - goal.wanted) ** 2).sum(-1).mean() / (goal.wanted**2).sum()
    return missed + goal.penalty * push.amount**2


loss_and_gradient = partial(jax.jit, static_argnames=("model",))(jax.value_and_grad(push_loss))


@partial(jax.jit, static_argnames=("model",))
def first_slope(
    model: PolicyModel, parameters: dict[str, Any], inputs: Any, zero: Array, goal: PushGoal
) -> tuple[Float[Array, "B A"], Float[Array, "L D"]]:
    """`mean_action` at the push `zero` [L, D], and the gradient there of what is wanted of it."""

    def along(vectors: Float[Array, "L D"]) -> tuple[Array, Array]:
        action = mean_action(model, parameters, inputs, vectors, goal)
        return (action @ goal.wanted).mean() / jnp.linalg.norm(goal.wanted), action

    (_, action), slope = jax.value_and_grad(along, has_aux=True)(zero)
    return action, slope
