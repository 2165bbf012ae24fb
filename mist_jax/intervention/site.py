"""Sites: where activations can be read, and at some of them changed.

A site's name is a place (`llm.resid`, `vision.dino`, ...) and, for places of the language model,
the role of the tokens it is about: `llm.resid:image`. Without one it is about the action tokens.
"""

from dataclasses import dataclass
from typing import Literal

from mist_jax.intervention.tokens import ACTION_TOKENS

Pool = Literal["mean", "tokens"]
DEFAULT_SITE = "llm.resid"


@dataclass(frozen=True)
class ModelSite:
    """What one site of a model gives.

    Pooled by `mean` an activation is float32 [B, layers, width]; by `tokens` it is
    [B, layers, tokens, width] with `tokens` those of one padded batch, zero where an example has
    fewer. `stage` is when it is known: before, within or after the layers that can be steered.
    `pools` are the forms it can be asked for in.
    """

    layers: int
    width: int
    stage: Literal["before", "within", "after"] = "within"
    steerable: bool = False  # operators may act at this place
    pools: tuple[Pool, ...] = ("mean", "tokens")


def split_site(name: str) -> tuple[str, str]:
    """Place and token role of a site's name: `llm.resid` is ("llm.resid", "action")."""
    place, _, role = name.partition(":")
    return place, role or ACTION_TOKENS


def join_site(place: str, role: str) -> str:
    """The site's name; the inverse of `split_site`."""
    return place if role == ACTION_TOKENS else f"{place}:{role}"


@dataclass(frozen=True)
class Watch:
    """What one forward must keep: the sites asked for, and those risk is read at. Static."""

    sites: tuple[str, ...] = ()
    pool: Pool = "mean"
    read: tuple[str, ...] = ()

    def pools(self, site: str) -> tuple[Pool, ...]:
        """How a site is to be pooled, at most once each way; nothing where nobody looks."""
        asked: list[Pool] = [self.pool] if site in self.sites else []
        return tuple(dict.fromkeys([*asked, "mean"] if site in self.read else asked))


NOTHING = Watch()
