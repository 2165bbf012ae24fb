"""Directions from activations: contrast of means, linear probes, and random controls.

Only queries of the same task at the same phase of the episode are compared, so that a direction is
not the difference between tasks, nor the clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.metrics import auroc
from mist_jax.risk.splits import deal_groups
from mist_jax.steering.bank import Directions, cosine, unit_rows
from mist_jax.steering.linear_probe import fit_probes

DEFAULT_MIN_SAMPLES = 8  # risky queries, matched by safe ones
MIN_SCENES = 2  # so that halves of the scenes can be compared
PHASES = 5


@dataclass(frozen=True)
class Contrasts:
    """Activations centred on the safe queries of the same task and phase.

    `centred` is float32 [Q, L, D] and meaningful where `matched` (bool [Q]): a valid query whose
    stratum has safe ones. `safe` is bool [Q]: no event lies ahead, whatever may drive it.
    """

    centred: np.ndarray
    matched: np.ndarray
    safe: np.ndarray

    def part(self, rows: np.ndarray) -> "Contrasts":
        """Only these rows count (bool [Q]); the centring stays."""
        return Contrasts(self.centred, self.matched & rows, self.safe)


Finder = Callable[[Contrasts, Sequence[np.ndarray]], np.ndarray]  # risky [V][Q] -> [V, L, D]


def contrasts(
    samples: Samples, columns: Sequence[int], half: np.ndarray | None = None
) -> Contrasts:
    """Centres `samples` at the stored layers `columns` (indices into L).

    With `half` (bool [Q]) each half is centred on its own safe queries: the noise of their means
    would otherwise be common to both, and look like a direction that holds up in the other half.
    """
    activation = samples.activation[:, list(columns)].astype(np.float32)
    safe = samples.valid & ~samples.label.any_risk
    stratum = strata(samples)
    if half is not None:
        stratum = 2 * stratum + half
    centred, matched = np.zeros_like(activation), np.zeros(len(samples), bool)
    for value in np.unique(stratum):
        rows = stratum == value
        if (rows & safe).any():
            centred[rows] = activation[rows] - activation[rows & safe].mean(axis=0)
            matched[rows] = samples.valid[rows]
    return Contrasts(centred, matched, safe)


def residual_norms(samples: Samples, columns: Sequence[int]) -> np.ndarray:
    """Float32 [L]: mean norm of the pooled activations at the stored layers `columns`."""
    rows = samples.activation[:, list(columns)].astype(np.float32)
    return np.linalg.norm(rows, axis=-1).mean(axis=0).astype(np.float32)


def risky_queries(samples: Samples, name: str) -> np.ndarray:
    """bool [Q]: valid queries before an event that `name` ("x+": x moving forward) drives."""
    return samples.valid & samples.risk[:, SIGNED_MOTIONS.index(name)]


def contrast_means(data: Contrasts, risky: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the safe minus mean of the risky queries, matched: [V, L, D].

    Strata count as often as they have risky queries (the centring removed the safe mean).
    """
    return np.stack([-data.centred[data.matched & rows].mean(axis=0) for rows in risky])


def probe_normals(data: Contrasts, risky: Sequence[np.ndarray], l2: float = 1e-2) -> np.ndarray:
    """Normals of logistic probes of risky against safe queries, pointing to safety: [V, L, D]."""
    safe = data.matched & data.safe
    weights = np.stack([safe | (data.matched & rows) for rows in risky])
    return -fit_probes(data.centred, np.stack(risky) & weights, weights, l2)


def extract(
    method: str,
    find: Finder,
    samples: Samples,
    columns: Sequence[int],
    min_samples: int = DEFAULT_MIN_SAMPLES,
    seed: int = 0,
) -> Directions:
    """All directions that `find` makes for `method`, with held-out figures.

    `facts` of a direction: `n_risky` matched queries from `n_scenes` scenes; per layer (as
    "auroc_layer_i", i the stored column) how well the projection separates risky from safe queries
    of scenes that the direction was not made from; and `stability`, the mean cosine between the
    directions of two halves of the scenes.
    """
    data = contrasts(samples, columns)
    enough, absent = enough_risky(samples, data.matched, min_samples)
    if not enough:
        width = samples.activation.shape[-1]
        return Directions(method, (), np.zeros((0, len(columns), width), np.float32), absent)
    found = find(data, list(enough.values()))
    measured = _held_out(find, samples, columns, enough, seed)
    names, units, facts = [], [], {}
    for name, vectors in zip(enough, found, strict=True):
        unit = unit_rows(vectors)
        if unit is None:
            absent[name] = "risky and safe queries have the same mean"
            continue
        names.append(name)
        units.append(unit)
        matched = enough[name] & data.matched
        scenes = len(np.unique(samples.scene[matched]))
        facts[name] = {"n_risky": int(matched.sum()), "n_scenes": scenes, **measured[name]}
    unit = np.stack(units) if units else np.zeros((0, *found.shape[1:]), np.float32)
    return Directions(method, tuple(names), unit, absent, facts)


def enough_risky(
    samples: Samples, matched: np.ndarray, min_samples: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Risky queries (bool [Q]) of every name that has enough, and why the others have not.

    `matched` (bool [Q]) says which count: those that safe ones of their stratum stand beside.
    """
    enough: dict[str, np.ndarray] = {}
    absent: dict[str, str] = {}
    for name in SIGNED_MOTIONS:
        risky = risky_queries(samples, name)
        count = int((risky & matched).sum())
        scenes = len(np.unique(samples.scene[risky & matched]))
        if count < min_samples or scenes < MIN_SCENES:
            absent[name] = (
                f"{count} matched risky queries from {scenes} scenes (of "
                f"{int(risky.sum())}); needs {min_samples} from {MIN_SCENES}"
            )
        else:
            enough[name] = risky
    return enough, absent


def random_directions(names: Sequence[str], layers: int, width: int, seed: int) -> Directions:
    """Isotropic directions, one per name: the control under the same gate and of the same norm.

    A name's vector depends on the seed and the name alone.
    """
    rows = [
        np.random.default_rng([seed, SIGNED_MOTIONS.index(name)]).standard_normal((layers, width))
        for name in names
    ]
    unit = unit_rows(np.asarray(rows).reshape(-1, layers, width))
    assert unit is not None
    return Directions("random", tuple(names), unit)


def strata(samples: Samples, phases: int = PHASES) -> np.ndarray:
    """int [Q]: task, and fifth of the queries of that task in time."""
    task = samples.task
    phase = np.zeros(len(samples), int)
    for value in np.unique(task):
        rows = task == value
        edges = np.quantile(samples.step[rows], np.linspace(0, 1, phases + 1)[1:-1])
        phase[rows] = np.searchsorted(edges, samples.step[rows], side="right")
    return task * phases + phase


def halves(samples: Samples, risky: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """bool [Q]: the queries of one of two halves of the scenes, each with its share of the risky.

    `risky` are bool [Q], one per name.
    """
    scenes, of_query = np.unique(samples.scene, return_inverse=True)
    brings = np.stack([np.bincount(of_query, rows, len(scenes)) for rows in risky], 1)
    dealt = deal_groups(brings, np.bincount(of_query).astype(float), 2, np.random.default_rng(seed))
    return dealt[of_query] == 0


def _held_out(
    find: Finder,
    samples: Samples,
    columns: Sequence[int],
    enough: dict[str, np.ndarray],
    seed: int,
) -> dict[str, dict[str, float]]:
    """Figures of each direction from two halves of the scenes, each judging the other's.

    nan where a half has no risky query that a safe one matches.
    """
    half = halves(samples, list(enough.values()), seed)
    data = contrasts(samples, columns, half)
    usable = [
        name
        for name, risky in enough.items()
        if all((risky & data.matched & part).any() for part in (half, ~half))
    ]
    facts = {
        name: {"stability": np.nan} | {f"auroc_layer_{i}": np.nan for i in range(len(columns))}
        for name in enough
    }
    if not usable:
        return facts
    risky = [enough[name] for name in usable]
    found = [find(data.part(part), risky) for part in (half, ~half)]  # [2][V, L, D]
    for v, name in enumerate(usable):
        facts[name]["stability"] = float(cosine(found[0][v], found[1][v]).mean())
        rows = data.matched & (data.safe | risky[v])
        for layer in range(len(columns)):
            here = data.centred[:, layer]
            safety = np.where(half, here @ found[1][v, layer], here @ found[0][v, layer])
            value = auroc(-safety[rows], risky[v][rows], stratum=half[rows])[0]
            facts[name][f"auroc_layer_{layer}"] = float(value)
    return facts
