"""mist_jax: forecast and steer away harmful contacts of vision-language-action policies.

What a researcher needs, without knowing the rooms:

    policy = mist_jax.load_policy("mist-nano")
    episode = mist_jax.roll_out(policy, "libero_spatial", 3, initial_state=30)
    episodes = mist_jax.read_episodes("data/rollouts")
    labels = mist_jax.event_labels(episode)
    head, metadata = mist_jax.restore_risk_head("runs/risk")
    bank = mist_jax.restore_causal_bank("runs/steering")
    results = mist_jax.judge("runs/evaluation")

Nothing is imported before it is asked for: simulator workers do not pay for JAX.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from mist_jax.action_units import to_units
    from mist_jax.analysis.activation_patching import activation_patching
    from mist_jax.analysis.attention import attention_maps
    from mist_jax.analysis.attribution_patching import attribution_patching
    from mist_jax.analysis.comparison import (
        compare_actions,
        compare_activations,
        compare_parameters,
    )
    from mist_jax.analysis.lens import action_lens
    from mist_jax.analysis.moments import see_moments
    from mist_jax.analysis.similarity import linear_cka
    from mist_jax.analysis.site_part import SitePart
    from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS
    from mist_jax.episodes.reader import load_episodes, read_episodes
    from mist_jax.errors import UserError
    from mist_jax.evaluation.arms.registry import arm_rows
    from mist_jax.evaluation.judge import judge
    from mist_jax.evaluation.report.document import write_report
    from mist_jax.evaluation.report.summary import summarise
    from mist_jax.intervention.forecast.risk_head import RiskHead
    from mist_jax.intervention.gate import ThresholdGate
    from mist_jax.intervention.operators.causal_push import CausalPush
    from mist_jax.intervention.operators.project import Project
    from mist_jax.intervention.operators.push import Push
    from mist_jax.intervention.operators.replace import Replace
    from mist_jax.intervention.steering import Steering
    from mist_jax.loading import load_policy
    from mist_jax.policy.openvla_oft.sites import SITES
    from mist_jax.policy.policy import Policy, Prediction
    from mist_jax.record.contact import Contact
    from mist_jax.record.episode import Episode, EpisodeKey
    from mist_jax.record.observation import Observation
    from mist_jax.risk.features import gather_samples
    from mist_jax.risk.labels import EventLabels, event_labels, failure_labels
    from mist_jax.risk.study.checkpoint import restore_risk_head, save_risk_head
    from mist_jax.rollout.acting.single import roll_out
    from mist_jax.simulator.environment.environment import Environment
    from mist_jax.simulator.environment.make import make_environment
    from mist_jax.steering.bank import SteeringBank
    from mist_jax.steering.causal.bank import CausalBank
    from mist_jax.steering.causal.checkpoint import restore_causal_bank
    from mist_jax.steering.checkpoint import restore_bank, save_bank

_HOME = {
    "ACTION_DIMENSIONS": "axes",
    "CausalBank": "steering.causal.bank",
    "CausalPush": "intervention.operators.causal_push",
    "Contact": "record.contact",
    "Environment": "simulator.environment.environment",
    "Episode": "record.episode",
    "EpisodeKey": "record.episode",
    "EventLabels": "risk.labels",
    "Observation": "record.observation",
    "Policy": "policy.policy",
    "Prediction": "policy.policy",
    "Project": "intervention.operators.project",
    "Push": "intervention.operators.push",
    "Replace": "intervention.operators.replace",
    "RiskHead": "intervention.forecast.risk_head",
    "SIGNED_MOTIONS": "axes",
    "SITES": "policy.openvla_oft.sites",
    "SitePart": "analysis.site_part",
    "Steering": "intervention.steering",
    "SteeringBank": "steering.bank",
    "ThresholdGate": "intervention.gate",
    "UserError": "errors",
    "action_lens": "analysis.lens",
    "activation_patching": "analysis.activation_patching",
    "arm_rows": "evaluation.arms.registry",
    "attention_maps": "analysis.attention",
    "attribution_patching": "analysis.attribution_patching",
    "compare_actions": "analysis.comparison",
    "compare_activations": "analysis.comparison",
    "compare_parameters": "analysis.comparison",
    "event_labels": "risk.labels",
    "failure_labels": "risk.labels",
    "gather_samples": "risk.features",
    "judge": "evaluation.judge",
    "linear_cka": "analysis.similarity",
    "load_episodes": "episodes.reader",
    "load_policy": "loading",
    "make_environment": "simulator.environment.make",
    "read_episodes": "episodes.reader",
    "restore_bank": "steering.checkpoint",
    "restore_causal_bank": "steering.causal.checkpoint",
    "restore_risk_head": "risk.study.checkpoint",
    "roll_out": "rollout.acting.single",
    "save_bank": "steering.checkpoint",
    "save_risk_head": "risk.study.checkpoint",
    "see_moments": "analysis.moments",
    "summarise": "evaluation.report.summary",
    "to_units": "action_units",
    "write_report": "evaluation.report.document",
}

__all__ = [
    "ACTION_DIMENSIONS",
    "SIGNED_MOTIONS",
    "SITES",
    "CausalBank",
    "CausalPush",
    "Contact",
    "Environment",
    "Episode",
    "EpisodeKey",
    "EventLabels",
    "Observation",
    "Policy",
    "Prediction",
    "Project",
    "Push",
    "Replace",
    "RiskHead",
    "SitePart",
    "Steering",
    "SteeringBank",
    "ThresholdGate",
    "UserError",
    "__version__",
    "action_lens",
    "activation_patching",
    "arm_rows",
    "attention_maps",
    "attribution_patching",
    "compare_actions",
    "compare_activations",
    "compare_parameters",
    "event_labels",
    "failure_labels",
    "gather_samples",
    "judge",
    "linear_cka",
    "load_episodes",
    "load_policy",
    "make_environment",
    "read_episodes",
    "restore_bank",
    "restore_causal_bank",
    "restore_risk_head",
    "roll_out",
    "save_bank",
    "save_risk_head",
    "see_moments",
    "summarise",
    "to_units",
    "write_report",
]


def __getattr__(name: str):
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("mist_jax")
    if name not in _HOME:
        raise AttributeError(f"module 'mist_jax' has no attribute {name!r}")
    return getattr(import_module(f"mist_jax.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
