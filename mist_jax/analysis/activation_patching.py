"""Activation patching: which activations, at which layer, carry what the action depends on.

A *recipient* run gets, at one layer and for some tokens, the activations of a *donor* run, and the
action is compared with those of both. Vig et al. (2020, "Causal mediation analysis"), Meng et al.
(2022, arXiv 2202.05262); Zhang and Nanda (2024, arXiv 2309.16042) for what can go wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.analysis.action_gap import ActionGap, executed
from mist_jax.analysis.site_part import SitePart, check_pairs, parts_of
from mist_jax.errors import UserError
from mist_jax.intervention.operators.replace import Replace
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs


@dataclass(frozen=True)
class Patching:
    """What each patch did to the action of each of B pairs."""

    parts: tuple[SitePart, ...]
    layers: tuple[int, ...]
    gap: ActionGap
    actions: np.ndarray  # float32 [parts, L, B, C, A], as `gap`'s

    @property
    def closed(self) -> np.ndarray:
        """Float32 [parts, L, B]: the share of the action gap that a patch closes."""
        return self.gap.closed(self.actions)


def activation_patching(
    policy: Policy,
    recipients: Sequence[PolicyInputs],
    donors: Sequence[PolicyInputs],
    *,
    parts: Sequence[SitePart | str] = ("llm.resid:image", "llm.resid"),
    layers: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
) -> Patching:
    """Patches every part at every layer, one at a time: a forward for each, of the whole batch.

    Args:
        policy: whose activations.
        recipients: one for each pair, preprocessed (`policy.preprocessor`).
        donors: theirs, in the same order.
        parts: what is replaced: sites that can be steered, or `SitePart`s of them.
        layers: of the sites, 0-based; None: every one.
        seeds: of a diffusion head's noise, the same for both runs of a pair.

    Raises:
        UserError: pairs, sites, tokens or layers that do not fit, or a pair without a gap.
    """
    chosen = parts_of(policy, parts)
    check_pairs(chosen, recipients, donors)
    depth = policy.sites[chosen[0].site].layers
    layers = tuple(range(depth)) if layers is None else tuple(layers)
    wrong = [layer for layer in layers if not 0 <= layer < depth]
    if wrong or not layers:
        raise UserError(f"{chosen[0].site} has layers 0 to {depth - 1}, not {wrong or 'none'}")
    sites = tuple(dict.fromkeys(part.site for part in chosen))
    own, other = (
        policy.predict_inputs(inputs, sites=sites, pool="tokens", seeds=seeds)
        for inputs in (recipients, donors)
    )
    actions = []
    for part in chosen:
        donated, kept = other.activations[part.site], own.activations[part.site]
        mask = part.mask(kept.shape[2])
        value = np.where(mask[:, None], donated, kept)
        for layer in layers:
            patch = Replace.of(value, np.eye(depth)[layer], site=part.site)
            patched = policy.predict_inputs(recipients, steering=patch, seeds=seeds)
            actions.append(executed(patched.raw_actions))
    return Patching(
        parts=chosen,
        layers=layers,
        gap=ActionGap.between(own.raw_actions, other.raw_actions),
        actions=np.stack(actions).reshape(len(chosen), len(layers), *actions[0].shape),
    )
