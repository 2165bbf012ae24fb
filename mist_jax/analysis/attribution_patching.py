"""Attribution patching: every token's patch at once, to first order, by one backward pass.

Nanda (2023, "Attribution patching"), Syed et al. (2023, arXiv 2310.10348). What a patch would do is
foretold by the gradient at the recipient's own activations: one backward pass for all layers and
tokens, where patching takes a forward for each. Where the policy is curved between the two runs the
forecast is wrong (Kramár et al. 2024, arXiv 2403.00745). Compare it with `activation_patching`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.analysis.action_gap import ActionGap
from mist_jax.analysis.site_part import SitePart, check_pairs, parts_of
from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.layered_push import LayeredPush
from mist_jax.policy.forward import run_model
from mist_jax.policy.model import PolicyModel
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs


@dataclass(frozen=True)
class TokenAttribution:
    """What each token's patch is foretold to do to the action of each of B pairs.

    `tokens` per site, float32 [B, L, S]: the share of the action gap (`ActionGap.closed`) that a
    patch of this token at this layer closes, to first order. Tokens of a layer add up; layers do
    not, for a patch at one layer is what carries to the next.
    """

    gap: ActionGap
    tokens: Mapping[str, np.ndarray]

    def closed(self, parts: Sequence[SitePart | str]) -> np.ndarray:
        """Float32 [parts, L, B]: what patches of `parts` are foretold to close, as `Patching`'s.

        Raises:
            UserError: a part of a site that was not asked for.
        """
        found = []
        for part in (SitePart(part) if isinstance(part, str) else part for part in parts):
            if part.site not in self.tokens:
                raise UserError(
                    f"{part.site} was not attributed; there are {', '.join(self.tokens)}"
                )
            each = self.tokens[part.site]
            found.append(each[..., part.mask(each.shape[-1])].sum(-1).T)
        return np.stack(found)


def attribution_patching(
    policy: Policy,
    recipients: Sequence[PolicyInputs],
    donors: Sequence[PolicyInputs],
    *,
    sites: Sequence[str] = ("llm.resid:image", "llm.resid"),
) -> TokenAttribution:
    """The first-order effect of patching each token at each layer, with one backward pass for all.

    Args:
        policy: whose activations; its actions must be differentiable.
        recipients: one for each pair, preprocessed (`policy.preprocessor`).
        donors: theirs, in the same order.
        sites: places that can be steered.

    Raises:
        UserError: pairs or sites that do not fit, a pair without a gap, or actions that cannot be
            differentiated: a diffusion or token head's.
    """
    parts = parts_of(policy, sites)
    check_pairs(parts, recipients, donors)
    if not policy.model.differentiable:
        raise UserError(f"actions of {policy.identity} cannot be differentiated: no L1 head")
    names = tuple(dict.fromkeys(part.site for part in parts))
    own, other = (
        policy.predict_inputs(inputs, sites=names, pool="tokens") for inputs in (recipients, donors)
    )
    gap = ActionGap.between(own.raw_actions, other.raw_actions)
    along = gap.difference * policy.preprocessor.executed_slope / gap.square[:, None, None]
    pushes = tuple(LayeredPush.of(np.zeros_like(own.activations[n]), site=n) for n in names)
    batch = policy.model.collate(recipients, None)
    slopes = action_gradients(
        policy.model, policy.parameters, batch, jnp.asarray(along, jnp.float32), pushes
    )
    change = {name: other.activations[name] - own.activations[name] for name in names}
    return TokenAttribution(
        gap=gap,
        tokens={
            name: np.einsum("blsd,blsd->bls", np.asarray(slope), change[name])
            for name, slope in zip(names, slopes, strict=True)
        },
    )


@partial(jax.jit, static_argnames=("model",))
def action_gradients(
    model: PolicyModel,
    parameters: dict[str, Any],
    inputs: Any,
    along: Float[Array, "B C A"],
    pushes: tuple[LayeredPush, ...],
) -> tuple[Array, ...]:
    """d<normalised actions, along>/d(each push) at the pushes, as each push is shaped."""

    def weighed(values: tuple[Array, ...]) -> Float[Array, ""]:
        pushed = zip(pushes, values, strict=True)
        operators = tuple(dataclasses.replace(push, push=value) for push, value in pushed)
        return (
            run_model(model, parameters, inputs, Intervention(None, operators)).actions * along
        ).sum()

    return jax.grad(weighed)(tuple(push.push for push in pushes))
