"""mist_jax: forecast and steer away harmful contacts of vision-language-action policies."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mist_jax.errors import UserError
    from mist_jax.intervention.risk_head import RiskHead
    from mist_jax.intervention.steering import Steering
    from mist_jax.loading import load_policy
    from mist_jax.policy.openvla_oft.sites import SITES
    from mist_jax.policy.policy import Policy, Prediction

_HOME = {
    "Policy": "mist_jax.policy.policy",
    "Prediction": "mist_jax.policy.policy",
    "RiskHead": "mist_jax.intervention.risk_head",
    "SITES": "mist_jax.policy.openvla_oft.sites",
    "Steering": "mist_jax.intervention.steering",
    "UserError": "mist_jax.errors",
    "load_policy": "mist_jax.loading",
}

__all__ = ["SITES", "Policy", "Prediction", "RiskHead", "Steering", "UserError", "load_policy"]


def __getattr__(name: str):  # simulator workers import mist_jax without paying for JAX
    if name not in _HOME:
        raise AttributeError(f"module 'mist_jax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
