"""The one place that compiles the policy.

Static, so that changing them retraces: the model, the tapped sites, the pooling, and within an
intervention which reader and operators there are, at which sites, and the layers of those that are
pinned. Everything a user sweeps (steering, thresholds, risk heads, inputs) is data.
"""

import dataclasses
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from mist_jax.axes import Array, Float
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.outputs import ModelOutputs
from mist_jax.intervention.site import Pool
from mist_jax.policy.model import PolicyModel


def run_model(
    model: PolicyModel,
    parameters: dict[str, Any],
    inputs: Any,
    intervention: Intervention | None,
    *,
    sites: tuple[str, ...] = (),
    pool: Pool = "mean",
) -> ModelOutputs:
    """The whole policy as a pure function; differentiable, traceable, not compiled."""
    return model.apply(parameters, inputs, intervention, sites=sites, pool=pool)


# On a GPU, kernels that do not need each other's results run beside each other, and products are
# cuBLAS's, which are faster than Triton's here and need no search (PERFORMANCE.md).
_OPTIONS = {
    "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
    "xla_gpu_enable_triton_gemm": False,
}

forward = partial(jax.jit, static_argnames=("model", "sites", "pool"), compiler_options=_OPTIONS)(
    run_model
)


@partial(jax.jit, static_argnames=("model",))
def action_jacobian(
    model: PolicyModel, parameters: dict[str, Any], inputs: Any, push: Push
) -> Float[Array, "B A S D"]:
    """d(mean action of the chunk)/d(push at zero), in the model's normalised units, float32.

    Of every example by its own push. One action dimension at a time: a batched transpose (jacrev)
    gives wrong rows on the CPU with JAX 0.10.
    """

    def summed(values: Float[Array, "B S D"]) -> Float[Array, "A"]:
        pushed = Intervention(None, (dataclasses.replace(push, push=values),))
        actions = run_model(model, parameters, inputs, pushed).actions
        return actions.mean(axis=1).sum(axis=0)  # examples do not depend on each other's push

    _, pull = jax.vjp(summed, jnp.zeros_like(push.push))
    rows = jax.lax.map(lambda dimension: pull(dimension)[0], jnp.eye(model.action_dim))
    return jnp.moveaxis(rows, 0, 1)


def token_counts(model: PolicyModel, inputs: Any, sites: tuple[str, ...]) -> tuple[int, ...]:
    """How many tokens each site has in a batch of such inputs, at most; nothing is computed."""
    leaves, structure = jax.tree.flatten(inputs)
    shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype) for leaf in leaves)
    return _token_counts(model, structure, shapes, sites)


@lru_cache(maxsize=64)  # it traces the whole model, and is asked for at every query
def _token_counts(
    model: PolicyModel, structure: Any, shapes: tuple[Any, ...], sites: tuple[str, ...]
) -> tuple[int, ...]:
    inputs = jax.tree.unflatten(structure, shapes)
    run = partial(run_model, model, sites=sites, pool="tokens")
    outputs = jax.eval_shape(
        lambda parameters, given: run(parameters, given, None), model.abstract_parameters(), inputs
    )
    return tuple(outputs.activations[site].shape[2] for site in sites)
