"""Which layers a head may read: each fixed one, or a learned mixture of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.errors import UserError
from mist_jax.risk.features import StoredSite
from mist_jax.risk.plan import LANGUAGE_SITES, Plan

MIXTURE = "mixture"


@dataclass(frozen=True)
class Choice:
    """`at` gives, per site, what is read of its stored layers: as many of each site."""

    name: str
    at: tuple[tuple[int, ...], ...]

    @property
    def layers(self) -> int:
        """How many of each site."""
        return len(self.at[0])

    def features(self, sites: Mapping[str, StoredSite]) -> np.ndarray:
        """[Q, L, D] in the dtype that is stored: sites side by side."""
        parts = [site.values[:, list(at)] for site, at in zip(sites.values(), self.at, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def fixed_choices(sites: Mapping[str, StoredSite], main: str, plan: Plan) -> list[Choice]:
    """One layer of the main site each; of others the last that is as early, or else the first.

    Of sites outside the language model (known before its layers) always the last stored one.

    Raises:
        UserError: a site has no stored layer that may be read.
    """
    allowed = {name: _allowed(name, site, plan) for name, site in sites.items()}
    choices = []
    for at in allowed[main]:
        layer = sites[main].layers[at]
        chosen = []
        for name, site in sites.items():
            early = [i for i in allowed[name] if site.layers[i] <= layer]
            if name == main:
                chosen.append((at,))
            elif _inside(name) and _inside(main):
                chosen.append((early[-1] if early else allowed[name][0],))
            else:
                chosen.append((allowed[name][-1],))
        choices.append(Choice(f"layer {layer}", tuple(chosen)))
    return choices


def mixture_choice(fixed: Sequence[Choice], most: int) -> Choice | None:
    """A mixture of what at most `most` of the fixed choices read, evenly spread; None of one."""
    count = min(most, len(fixed))
    if count < 2:
        return None
    some = np.unique(np.linspace(0, len(fixed) - 1, count).round().astype(int))
    per_site = zip(*(fixed[i].at for i in some), strict=True)
    return Choice(MIXTURE, tuple(tuple(at for (at,) in site) for site in per_site))


def gains(
    sites: Mapping[str, StoredSite], choice: Choice, mean: np.ndarray, scale: np.ndarray,
    mixture: np.ndarray, depth: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The affine map of the features, as gain [depth, D] by the model's layers and offset [D].

    `mean` and `scale` are [L, D], `mixture` weights [site, L] of the layers of `choice`.
    """
    gain = np.zeros((depth, mean.shape[-1]))
    offset = np.zeros(mean.shape[-1])
    begin = 0
    for (site, at), weight in zip(
        zip(sites.values(), choice.at, strict=True), mixture, strict=True
    ):
        here = slice(begin, begin := begin + site.values.shape[-1])
        for number, index in enumerate(at):
            share = weight[number] / scale[number, here].astype(np.float64)
            gain[site.layers[index], here] += share
            offset[here] += share * mean[number, here]
    return gain.astype(np.float32), offset.astype(np.float32)


def read_until(sites: Mapping[str, StoredSite], choice: Choice) -> int:
    """The last layer of the language model that is read; 0 where none is."""
    return max(
        (site.layers[i] for (name, site), at in zip(sites.items(), choice.at, strict=True)
         if _inside(name) for i in at), default=0,
    )  # fmt: skip


def _inside(site: str) -> bool:
    return site.startswith(LANGUAGE_SITES)


def _allowed(name: str, site: StoredSite, plan: Plan) -> list[int]:
    """Stored layers that may be read, earliest first."""
    order = np.argsort(site.layers)
    if _inside(name):
        order = order[plan.may_read([site.layers[i] for i in order])]
    if len(order) == 0:
        raise UserError(
            f"of {name} only layers {list(site.layers)} are stored, and none after "
            f"{plan.last_layer} may be read; collect an earlier one"
        )
    return [int(i) for i in order]
