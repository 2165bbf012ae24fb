"""L2-regularised logistic probes of many layers and many questions at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Float

ITERATIONS = 60


def fit_probes(
    features: np.ndarray, positive: np.ndarray, used: np.ndarray, l2: float
) -> np.ndarray:
    """Normals float32 [V, L, D], towards the positives, in the coordinates of `features` [Q, L, D].

    Each probe minimises, over its `used` rows (bool [V, Q]), the mean cross-entropy of `positive`
    (bool [V, Q]) with the two classes weighted alike, plus l2 / 2 times the squared norm of its
    weights on standardised features. L-BFGS on a strictly convex loss. Needs both classes.
    """
    positive, used = positive.astype(np.float32), used.astype(np.float32)
    ones, zeros = positive.sum(1), (used - positive).sum(1)
    weight = used * np.where(positive > 0, 0.5 / ones[:, None], 0.5 / zeros[:, None])
    fit = jax.vmap(_fit, in_axes=(None, 0, 0, None))  # questions
    fit = jax.jit(jax.vmap(fit, in_axes=(0, None, None, None), out_axes=1))  # layers
    return np.asarray(fit(jnp.asarray(np.moveaxis(features, 1, 0)), positive, weight, l2))


def _fit(
    features: Float[Array, "Q D"], positive: Float[Array, "Q"], weight: Float[Array, "Q"], l2: float
) -> Float[Array, "D"]:
    mean = weight @ features
    scale = jnp.sqrt(weight @ (features - mean) ** 2)
    scale = jnp.maximum(scale, 1e-2 * jnp.median(scale) + 1e-12)
    x = jnp.where(weight[:, None] > 0, (features - mean) / scale, 0.0)

    def loss(parameters: tuple[Array, Array]) -> Array:
        normal, bias = parameters
        entropy = optax.sigmoid_binary_cross_entropy(x @ normal + bias, positive)
        return weight @ entropy + 0.5 * l2 * normal @ normal

    solver = optax.lbfgs()
    start = (jnp.zeros(x.shape[1]), jnp.zeros(()))

    def step(carry, _):
        parameters, state = carry
        value, gradient = optax.value_and_grad_from_state(loss)(parameters, state=state)
        updates, state = solver.update(
            gradient, state, parameters, value=value, grad=gradient, value_fn=loss
        )
        return (jax.tree.map(jnp.add, parameters, updates), state), None

    (found, _), _ = jax.lax.scan(step, (start, solver.init(start)), length=ITERATIONS)
    normal: Array = found[0]
    return normal / scale
