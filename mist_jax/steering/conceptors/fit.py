"""Conceptors of the states before which nothing happened, without those that a harm followed.

Safe and not risky, as COAST (arXiv 2605.17144) steers by success and not failure. Its replication
found a uniform shrinkage of the activations instead, as good as a random conceptor: so the share of
shrinkage in what a conceptor does stands among its facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.judging.metrics import auroc
from mist_jax.steering.bank import cosine
from mist_jax.steering.conceptors.algebra import SoftProjection, conceptor
from mist_jax.steering.extraction import enough_risky, halves, strata

DEFAULT_APERTURE = 1.0
LARGEST_RANK = 256


@dataclass(frozen=True)
class Conceptors:
    """What was found: one conceptor per name and layer, and why the missing ones are missing.

    Arrays are float32, of V names and L layers; parts beyond a conceptor's own rank are zero.
    """

    method: str
    names: tuple[str, ...]
    basis: np.ndarray  # [V, L, D, rank]
    kept: np.ndarray  # [V, L, rank]
    centre: np.ndarray  # [V, L, D]
    absent: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fitted:
    """A conceptor at one layer and the mean of the safe states it is around."""

    soft: SoftProjection
    centre: np.ndarray

    def change(self, rows: np.ndarray) -> np.ndarray:
        """(C - I)(h - centre) of each row [Q, D]."""
        away = rows - self.centre
        return self.soft(away) - away


def find_conceptors(
    samples: Samples,
    columns: Sequence[int],
    min_samples: int,
    seed: int,
    *,
    aperture: float = DEFAULT_APERTURE,
    rank: int = LARGEST_RANK,
) -> Conceptors:
    """`C(safe) and not C(risky)` for every signed motion with enough risky queries.

    Both clouds are taken around the mean of the safe, of which every stratum (task and phase) has
    the weight of its risky queries. An aperture of 1 keeps half of a dimension in which the safe
    spread as much as they do on average over all dimensions; aperture^2 scales that spread.

    `facts` hold `quota`, the mean eigenvalue; `shrinking`, the mean cosine between what the
    conceptor does to risky states and plain shrinkage towards the centre; and of two halves of the
    scenes, each judging the other's: `stability`, the mean cosine between what their conceptors do
    to risky states, and "auroc_layer_i", how well the share of a state that they take away
    separates risky from safe.
    """
    safe = samples.valid & ~samples.label.any_risk
    stratum = strata(samples)
    enough, absent = enough_risky(samples, np.isin(stratum, stratum[safe]), min_samples)
    width = samples.activation.shape[-1]
    if not enough:
        shape = (0, len(columns), width)
        return Conceptors(
            "conceptor",
            (),
            np.zeros((*shape, 1)),
            np.zeros((*shape[:2], 1)),
            np.zeros(shape),
            absent,
        )
    half = halves(samples, list(enough.values()), seed)
    found: list[list[_Fitted]] = []
    facts: dict[str, dict[str, float]] = {}
    for name, risky in enough.items():
        layers, of_layers = [], []
        for column in columns:
            rows = samples.activation[:, column].astype(np.float64)
            whole = _fit(rows, safe, risky, stratum, aperture, rank)
            layers.append(whole)
            of_layers.append(
                _layer_facts(rows, safe, risky, stratum, half, whole, aperture=aperture, rank=rank)
            )
        found.append(layers)
        facts[name] = _together(of_layers) | {
            "n_risky": int((risky & np.isin(stratum, stratum[safe])).sum()),
            "n_scenes": len(np.unique(samples.scene[risky])),
        }
    most = max(len(one.soft.kept) for layers in found for one in layers)
    return Conceptors(
        "conceptor",
        tuple(enough),
        np.stack([[_padded(one.soft.basis, most) for one in layers] for layers in found]),
        np.stack([[_padded(one.soft.kept, most) for one in layers] for layers in found]),
        np.stack([[one.centre for one in layers] for layers in found]).astype(np.float32),
        absent,
        facts,
    )


def turned_conceptors(found: Conceptors, seed: int) -> Conceptors:
    """The same eigenvalues and centres along other axes, drawn uniformly: a conceptor's control."""
    rng = np.random.default_rng(seed)
    basis = np.zeros_like(found.basis)
    for v, layer in np.ndindex(*found.basis.shape[:2]):
        axes, triangle = np.linalg.qr(rng.standard_normal(found.basis.shape[2:]))
        basis[v, layer] = axes * np.sign(np.diag(triangle))
    return Conceptors("conceptor_random", found.names, basis, found.kept, found.centre)


def _fit(
    rows: np.ndarray,
    safe: np.ndarray,
    risky: np.ndarray,
    stratum: np.ndarray,
    aperture: float,
    rank: int,
) -> _Fitted:
    """At one layer: `rows` [Q, D], the rest [Q]. Strata without safe queries do not count."""
    count = int(stratum.max()) + 1
    wanted = np.bincount(stratum[risky], minlength=count).astype(float)
    there = np.bincount(stratum[safe], minlength=count)
    weight = np.where(safe, (wanted / np.maximum(there, 1))[stratum], 0.0)
    weight /= weight.sum()
    centre = weight @ rows
    matched = risky & (there[stratum] > 0)
    used = weight > 0
    cloud = np.sqrt(weight[used])[:, None] * (rows[used] - centre)
    spread = (cloud**2).sum() / rows.shape[1]  # mean eigenvalue
    scaled = aperture / np.sqrt(max(spread, 1e-30))
    other = (rows[matched] - centre) / np.sqrt(matched.sum())
    return _Fitted(conceptor(cloud, scaled, rank, without=other), centre)


def _layer_facts(
    rows: np.ndarray,
    safe: np.ndarray,
    risky: np.ndarray,
    stratum: np.ndarray,
    half: np.ndarray,
    whole: _Fitted,
    *,
    aperture: float,
    rank: int,
) -> dict[str, float]:
    """Figures of one layer; nan for those of halves where a half lacks what it needs."""
    seen = rows[risky]
    facts = {
        "quota": whole.soft.quota,
        "shrinking": float(cosine(whole.change(seen), whole.centre - seen).mean()),
        "stability": np.nan,
        "auroc": np.nan,
    }
    parts = (half, ~half)
    if not all(np.isin(stratum[risky & part], stratum[safe & part]).any() for part in parts):
        return facts
    first, second = (
        _fit(rows, safe & part, risky & part, stratum, aperture, rank) for part in parts
    )
    moved = first.change(rows), second.change(rows)
    facts["stability"] = float(cosine(moved[0][risky], moved[1][risky]).mean())
    shares = [
        np.linalg.norm(taken, axis=1) / np.maximum(np.linalg.norm(rows - one.centre, axis=1), 1e-12)
        for taken, one in zip(moved, (first, second), strict=True)
    ]
    share, judged = np.where(half, shares[1], shares[0]), safe | risky
    facts["auroc"] = float(auroc(share[judged], risky[judged], stratum=half[judged])[0])
    return facts


def _together(of_layers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the layers, and each layer's AUROC."""
    means = {
        name: float(np.mean([one[name] for one in of_layers]))
        for name in ("stability", "shrinking", "quota")
    }
    return means | {f"auroc_layer_{i}": one["auroc"] for i, one in enumerate(of_layers)}


def _padded(values: np.ndarray, rank: int) -> np.ndarray:
    """Float32, the last axis filled with zeros up to `rank`."""
    pad = [(0, 0)] * (values.ndim - 1) + [(0, rank - values.shape[-1])]
    return np.pad(values, pad).astype(np.float32)
