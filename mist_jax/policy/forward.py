"""The one place that compiles the policy.

Static, so that changing them retraces: the configuration, the tapped sites and the pooling.
Everything a user sweeps (steering, thresholds, risk heads, inputs) is data.
"""

from functools import partial

import jax
from flax import nnx

from mist_jax.policy.openvla_oft.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.language import Intervention, Pool
from mist_jax.policy.openvla_oft.model import ModelInputs, ModelOutputs, abstract_model


def run_model(
    config: OpenVLAOFTConfig,
    parameters: nnx.State,
    inputs: ModelInputs,
    intervention: Intervention | None,
    *,
    sites: tuple[str, ...] = (),
    pool: Pool = "mean",
) -> ModelOutputs:
    """The whole policy as a pure function; differentiable, traceable, not compiled."""
    graph, _ = abstract_model(config)
    return nnx.merge(graph, parameters)(inputs, intervention, sites=sites, pool=pool)


forward = partial(jax.jit, static_argnames=("config", "sites", "pool"))(run_model)
