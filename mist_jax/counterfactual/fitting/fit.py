"""Fits the value of actions, Q(h, a), to what became of the branches of forks.

The width of the features and the strength of the ridges are chosen by held-out likelihood, what
harm is worth against success and how sure one must be to act by what the chosen branches led to;
folds are of whole scenes.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from mist_jax.counterfactual.fitting.components import Components, principal_components
from mist_jax.counterfactual.fitting.logistic import (
    OutcomeFit,
    fit_across,
    fit_within,
    within_likelihood,
)
from mist_jax.counterfactual.fitting.search import Search, scene_folds
from mist_jax.counterfactual.fitting.table import BranchTable, Harm
from mist_jax.intervention.intent.action_value import ActionValue, OutcomeModel

SUCCESS = "success"


@dataclass(frozen=True)
class Strength:
    """How one outcome is fitted."""

    kept: int
    ridge: float
    main_ridge: float


@dataclass(frozen=True)
class _Option:
    """Which harm is forecast, and how both outcomes are."""

    kind: Harm
    harm: Strength
    success: Strength


@dataclass(frozen=True)
class FittedValue:
    """Q(h, a) as it was fitted; `harm_kind` says which harm `harm` forecasts.

    cost(h, a) = P(harm) + weight * (1 - P(success)) + price * |a / size|^2.
    """

    components: Components
    harm: OutcomeFit
    success: OutcomeFit
    harm_kind: Harm
    weight: float
    price: float
    margin: float
    offsets: np.ndarray  # float32 [K, A]
    size: np.ndarray  # float32 [A]
    strengths: dict[str, Strength]

    def chances(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(harm) and P(success) of every offset, float64 [n, K], from features [n, F]."""
        z, terms = self.components(features), offset_terms(self.offsets, self.size)
        return self.harm.probability(z, terms), self.success.probability(z, terms)

    def costs(self, features: np.ndarray) -> np.ndarray:
        """float64 [n, K]."""
        harm, success = self.chances(features)
        return _cost(harm, success, self.weight, self.price, self.offsets / self.size)

    def choose(self, features: np.ndarray) -> np.ndarray:
        """The place of the offset chosen, int [n]."""
        return chosen(self.costs(features), zero_of(self.offsets), self.margin)

    def intent(self) -> ActionValue:
        """As the forward takes it."""
        return ActionValue.of(
            self.components.projection(),
            np.delete(self.offsets, zero_of(self.offsets), axis=0),
            self.size,
            _model(self.harm),
            _model(self.success),
            price=self.price,
            weight=self.weight,
            margin=self.margin,
        )


def offset_terms(offsets: np.ndarray, size: np.ndarray) -> np.ndarray:
    """phi(a) = [a / size, (a / size)^2], float64 [K, 2 A]."""
    relative = np.asarray(offsets, np.float64) / size
    return np.concatenate([relative, relative**2], axis=1)


def zero_of(offsets: np.ndarray) -> int:
    """The place of the offset that changes nothing."""
    return int(np.flatnonzero((offsets == 0).all(axis=1))[0])


def chosen(costs: np.ndarray, zero: int, margin: float) -> np.ndarray:
    """The offset of least cost, where it costs less than offset `zero` by more than `margin`.

    Int [n], from costs [n, K]. With a negative margin it may cost more.
    """
    others = np.array(costs)
    others[:, zero] = np.inf
    best = others.argmin(axis=1)
    gain = costs[:, zero] - others.min(axis=1)
    return np.where(gain > margin, best, zero)


def losses(table: BranchTable, failure: float) -> np.ndarray:
    """What each branch led to, [forks, K]: any later harm + failure * (no success)."""
    return table.later + failure * (1.0 - table.success)


def fit_action_value(table: BranchTable, search: Search) -> FittedValue:
    """Chooses by cross-validation over the scenes of `table`, then fits to all of it.

    Raises:
        UserError: too few scenes, or features that do not vary.
    """
    folds = scene_folds(table, search.folds, search.seed)
    parts = [_Part.of(table, folds == fold, max(search.kept)) for fold in np.unique(folds)]
    strengths = {
        name: [_strength(parts, name, kept, search) for kept in _kept(parts, search)]
        for name in (*search.harms, SUCCESS)
    }
    options = []
    for kind in search.harms:
        pairs = zip(strengths[kind], strengths[SUCCESS], strict=True)
        harm, success = max(pairs, key=lambda pair: pair[0][1] + pair[1][1])
        options.append(_Option(kind, harm[0], success[0]))
    option, weight, price, margin = _decide(table, folds, parts, options, search)
    kind, harm, success = option.kind, option.harm, option.success
    whole = _Part.of(table, np.zeros(len(table), bool), max(search.kept))
    return FittedValue(
        components=whole.components.first(harm.kept),
        harm=whole.fit(kind, harm),
        success=whole.fit(SUCCESS, success),
        harm_kind=kind,
        weight=weight,
        price=price,
        margin=margin,
        offsets=table.offsets,
        size=table.size,
        strengths={"harm": harm, SUCCESS: success},
    )


def outcome(table: BranchTable, name: str) -> np.ndarray:
    """The ends of branches, bool [forks, K]: `soon`, `later` or `success`."""
    return {"soon": table.soon, "later": table.later, SUCCESS: table.success}[name]


@dataclass(frozen=True)
class _Part:
    """One fold: what is fitted, what is held out, and the features as the first sees them."""

    train: BranchTable
    test: BranchTable
    components: Components
    terms: np.ndarray

    @classmethod
    def of(cls, table: BranchTable, held_out: np.ndarray, kept: int) -> "_Part":
        train = table.rows(~held_out)
        components = principal_components(train.features, kept)
        terms = offset_terms(table.offsets, table.size)
        return cls(train, table.rows(held_out), components, terms)

    def fit(self, name: str, strength: Strength) -> OutcomeFit:
        z, label = self.z(self.train, strength.kept), outcome(self.train, name)
        effect = fit_within(z, self.terms, label, strength.ridge)
        return fit_across(z, self.terms, label, effect, strength.main_ridge)

    def z(self, table: BranchTable, kept: int) -> np.ndarray:
        return self.components.first(kept)(table.features)


def _kept(parts: list[_Part], search: Search) -> list[int]:
    """Widths that every fold's features have; the smallest where none has any of them."""
    most = min(part.components.basis.shape[1] for part in parts)
    return sorted({min(kept, most) for kept in search.kept})


def _strength(parts: list[_Part], name: str, kept: int, search: Search) -> tuple[Strength, float]:
    """The best ridges at one width, and the held-out conditional log-likelihood they reach."""
    within = np.zeros(len(search.ridges))
    effects: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in search.ridges]
    for part in parts:
        z, unseen = part.z(part.train, kept), part.z(part.test, kept)
        for trial, ridge in enumerate(search.ridges):
            effect = fit_within(z, part.terms, outcome(part.train, name), ridge)
            label = outcome(part.test, name)
            within[trial] += within_likelihood(unseen, part.terms, label, effect).sum()
            effects[trial].append(effect)
    best = len(within) - 1 - int(np.argmax(within[::-1]))  # of equals the strongest ridge
    across = np.zeros(len(search.main_ridges))
    for part, effect in zip(parts, effects[best], strict=True):
        z, unseen = part.z(part.train, kept), part.z(part.test, kept)
        for trial, ridge in enumerate(search.main_ridges):
            fit = fit_across(z, part.terms, outcome(part.train, name), effect, ridge)
            score, label = fit.logit(unseen, part.terms), outcome(part.test, name)
            across[trial] -= (np.logaddexp(0, score) - label * score).sum()
    ridge = search.main_ridges[int(np.argmax(across))]
    return Strength(kept, search.ridges[best], ridge), float(within[best])


def _decide(
    table: BranchTable,
    folds: np.ndarray,
    parts: list[_Part],
    options: list[_Option],
    search: Search,
) -> tuple[_Option, float, float, float]:
    """Which harm to forecast, weight, price and margin: of least held-out loss."""
    loss, zero = losses(table, search.failure), zero_of(table.offsets)
    relative, forks = table.offsets / table.size, np.arange(len(table))
    tried = []
    for option in options:
        said = np.zeros((2, *loss.shape))
        for fold, part in zip(np.unique(folds), parts, strict=True):
            for row, name, strength in (
                (0, option.kind, option.harm),
                (1, SUCCESS, option.success),
            ):
                z = part.z(part.test, strength.kept)
                said[row, folds == fold] = part.fit(name, strength).probability(z, part.terms)
        for weight, price, margin in product(search.weights, search.prices, search.margins):
            costs = _cost(said[0], said[1], weight, price, relative)
            mean = float(loss[forks, chosen(costs, zero, margin)].mean())
            tried.append((round(mean, 9), -margin, -price, option, weight, price, margin))
    return min(tried, key=lambda one: one[:3])[3:]


def _model(fit: OutcomeFit) -> OutcomeModel:
    return OutcomeModel.of(fit.bias, fit.main, fit.offset, fit.interaction)


def _cost(
    harm: np.ndarray, success: np.ndarray, weight: float, price: float, relative: np.ndarray
) -> np.ndarray:
    return harm + weight * (1 - success) + price * (relative**2).sum(axis=1)
