"""Attention maps: which tokens each layer's heads look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.tokens import ACTION_TOKENS, TOKEN_ROLES
from mist_jax.policy.model import ShowsAttention
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of a batch: what each token takes from each other one.

    That attention looks somewhere does not show that what is there matters to the action (Jain and
    Wallace 2019, arXiv 1902.10186): patch it, to see.
    """

    weights: np.ndarray  # float32 [B, L, H, T, S], rows sum to one; zero in padding
    layers: tuple[int, ...]
    role: np.ndarray  # int [B, T]: index into `TOKEN_ROLES`, -1 for padding

    def looks(self, keys: str = "image", queries: str = ACTION_TOKENS) -> np.ndarray:
        """What tokens of one role take from each token of another, float32 [B, L, H, S].

        The mean over the `queries`; S are the `keys` in order, zero where an example has fewer.

        Raises:
            UserError: an unknown role, or one that no token of this batch has.
        """
        asking, asked = (self.role == self._index(role) for role in (queries, keys))
        found = np.zeros((*self.weights.shape[:3], int(asked.sum(1).max())), np.float32)
        for row, (who, what) in enumerate(zip(asking, asked, strict=True)):
            found[row, ..., : what.sum()] = self.weights[row][:, :, who][..., what].mean(2)
        return found

    def by_role(self) -> np.ndarray:
        """Share of what a role's tokens take that comes from each role, float32 [B, L, H, R, R].

        Queries' roles first, both in the order of `TOKEN_ROLES`; rows of roles that some token has
        sum to one, those of others are zero.
        """
        of = np.stack([self.role == index for index in range(len(TOKEN_ROLES))], -1)
        of = of.astype(np.float32)  # [B, T, R]
        total = np.einsum("blhts,btq,bsr->blhqr", self.weights, of, of, optimize=True)
        return total / np.maximum(of.sum(1), 1)[:, None, None, :, None]

    def _index(self, role: str) -> int:
        if role not in TOKEN_ROLES or not (self.role == TOKEN_ROLES.index(role)).any():
            there = [name for i, name in enumerate(TOKEN_ROLES) if (self.role == i).any()]
            raise UserError(f"no token here is of the role {role!r}; there are {', '.join(there)}")
        return TOKEN_ROLES.index(role)


def attention_maps(
    policy: Policy,
    inputs: Sequence[PolicyInputs],
    *,
    layers: Sequence[int] | None = None,
    steering: Operator | Sequence[Operator] | None = None,
) -> AttentionMaps:
    """Attention of the language model, layer by layer and head by head.

    Made beside the forward from its activations: asking for it changes nothing of what `predict`
    computes. A map is [H, T, T] a layer and example: of a 7B model ask for few layers at a time.

    Args:
        policy: whose attention.
        inputs: preprocessed examples (`policy.preprocessor`).
        layers: 0-based; None: every one.
        steering: what acts meanwhile, as in `predict`; gates that wait for risk are refused.

    Raises:
        UserError: no inputs, an unknown layer, or a model that does not show its attention.
    """
    if not isinstance(policy.model, ShowsAttention):
        raise UserError(f"{policy.identity}: {policy.model.name} does not show its attention")
    if not inputs:
        raise UserError("attention maps need at least one observation")
    depth = policy.layers
    chosen = tuple(range(depth)) if layers is None else tuple(layers)
    wrong = [layer for layer in chosen if not 0 <= layer < depth]
    if wrong or not chosen:
        raise UserError(f"{policy.identity} has layers 0 to {depth - 1}, not {wrong or 'none'}")
    batch = policy.model.collate(inputs, None)
    acting = policy.intervention(len(inputs), steering, None)
    weights, role = jax.device_get(
        _weights(policy.model, policy.parameters, batch, acting, layers=chosen)
    )
    named = np.where(role.any(-1), role.argmax(-1), -1)
    return AttentionMaps(weights=weights, layers=chosen, role=named)


@partial(jax.jit, static_argnames=("model", "layers"))
def _weights(
    model: ShowsAttention,
    parameters: dict[str, Any],
    inputs: Any,
    intervention: Intervention,
    *,
    layers: tuple[int, ...],
) -> tuple[Float[Array, "B layers H T S"], Float[Array, "B T R"]]:
    return model.attention_weights(parameters, inputs, intervention, layers)
