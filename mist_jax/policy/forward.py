"""The one place that compiles the policy.

Static, so that changing them retraces: the model, the tapped sites, the pooling, and within an
intervention which reader and operators there are and at which sites. Everything a user sweeps
(steering, thresholds, risk heads, inputs) is data.
"""

from functools import partial
from typing import Any

import jax

from mist_jax.intervention.intervention import Intervention
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


forward = partial(jax.jit, static_argnames=("model", "sites", "pool"))(run_model)
