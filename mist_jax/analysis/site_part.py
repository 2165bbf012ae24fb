"""A part of the activations: a site's tokens, all of them or some."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.site import split_site
from mist_jax.intervention.tokens import ALL_TOKENS
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs


@dataclass(frozen=True)
class SitePart:
    """Tokens of a steerable site such as `llm.resid:image`; None: all of the site's.

    `tokens` are places among the site's tokens, 0-based and in the order of the sequence: of
    `llm.resid:image` the patches of the first camera, row by row, and then of the next one.
    """

    site: str
    tokens: tuple[int, ...] | None = None

    def mask(self, count: int) -> np.ndarray:
        """Bool [S]: which of the site's `count` tokens are meant.

        Raises:
            UserError: there are not so many.
        """
        if self.tokens is None:
            return np.ones(count, bool)
        wrong = [token for token in self.tokens if not 0 <= token < count]
        if wrong or not self.tokens:
            raise UserError(
                f"{self.site} has tokens 0 to {count - 1}, not {wrong[0] if wrong else 'none'}"
            )
        return np.isin(np.arange(count), self.tokens)


def parts_of(policy: Policy, parts: Sequence[SitePart | str]) -> tuple[SitePart, ...]:
    """Parts as they are, sites' names as all of their tokens.

    Raises:
        UserError: none at all, an unknown site, or one that nothing can act at.
    """
    found = tuple(SitePart(part) if isinstance(part, str) else part for part in parts)
    if not found:
        raise UserError("name at least one part of the activations, such as 'llm.resid:image'")
    for part in found:
        site = policy.sites.get(part.site)
        if site is None or not site.steerable:
            steerable = ", ".join(name for name, one in policy.sites.items() if one.steerable)
            raise UserError(f"nothing can be put in at {part.site!r}; choose of {steerable}")
    return found


def check_pairs(
    parts: Sequence[SitePart], recipients: Sequence[PolicyInputs], donors: Sequence[PolicyInputs]
) -> None:
    """Raises UserError unless each recipient has a donor whose tokens stand for its own."""
    if len(recipients) != len(donors) or not recipients:
        raise UserError(
            f"every recipient needs its donor: there are {len(recipients)} and {len(donors)}"
        )
    texts = [part.site for part in parts if split_site(part.site)[1] in ("prompt", ALL_TOKENS)]
    for index, (one, other) in enumerate(zip(recipients, donors, strict=True)):
        lengths = len(one.token_ids), len(other.token_ids)
        if texts and lengths[0] != lengths[1]:
            raise UserError(
                f"pair {index}: prompts of {lengths[0]} and {lengths[1]} tokens, so that tokens of "
                f"{texts[0]} have no partners; leave that site out, or take equally long prompts"
            )
