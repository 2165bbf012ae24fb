"""Cross-fitting: every risk that is reported comes from a head that never saw its scene.

For each fold, heads of all layers are fitted; the next fold stops them, chooses the layer,
calibrates, and sets the alarm threshold; the fold itself is only predicted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.intervention.risk_head import RiskHead, risk_probability
from mist_jax.risk.calibration import (
    GateThreshold,
    Platt,
    constant_platt,
    fit_platt,
    gate_threshold,
    smoothed_rate,
)
from mist_jax.risk.features import Samples
from mist_jax.risk.metrics import auroc
from mist_jax.risk.splits import MIN_FOLDS, Folds
from mist_jax.risk.train import Fitted, Rows, TrainConfig, fit_heads, head_logits

DEFAULT_MIN_POSITIVE = 10  # queries; below it a dimension reports its base rate

_probability = jax.jit(risk_probability)


@dataclass(frozen=True)
class CrossFit:
    """One detector, cross-validated.

    `members` are the calibrated heads, leaves [K, ...]: head k tests fold k, at the layer that its
    validation fold chose, alarms above `threshold[k]`. `risk` is what they say of their own test
    queries.
    """

    members: RiskHead
    threshold: np.ndarray  # float [K, A]
    risk: np.ndarray  # float32 [Q, A]
    layers: tuple[int, ...]
    validation_auroc: np.ndarray  # float [L, K], mean over the usable dimensions
    fitted: Fitted  # one trial per layer and member: leaves [L, K, ...]
    trial: np.ndarray  # int [L, K], index into TrainConfig.trials


@dataclass(frozen=True)
class FinalHead:
    """The head that ships: refitted to all scenes, calibrated on out-of-sample logits."""

    head: RiskHead
    gate: GateThreshold
    validation_auroc: np.ndarray  # float [L], mean over folds


def usable_dimensions(
    samples: Samples, min_positive: int = DEFAULT_MIN_POSITIVE
) -> tuple[np.ndarray, np.ndarray]:
    """Which dimensions have enough positives to learn from, bool [A], and how many, int [A].

    Enough is `min_positive` queries from at least three scenes: fewer cannot be trained on,
    calibrated on and tested on. The others report their base rate and never raise an alarm.
    """
    positive = samples.risk & samples.valid[:, None]
    count = positive.sum(axis=0)
    scenes = np.asarray(
        [len(np.unique(samples.scene[positive[:, i]])) for i in range(positive.shape[1])]
    )
    return (count >= min_positive) & (scenes >= MIN_FOLDS), count


def cross_fit(
    features: np.ndarray,
    layers: Sequence[int],
    samples: Samples,
    folds: Folds,
    usable: np.ndarray,
    config: TrainConfig,
    rate: float,
    progress: Callable[[int], None] = lambda epochs: None,
) -> CrossFit:
    """Fits, chooses, calibrates and predicts on `features` [Q, L, D] for each fold.

    `usable` is bool [A]; `rate` the share of clean validation episodes that may raise an alarm.
    """
    rows = [
        Rows(folds.train(k, samples) & samples.valid, folds.validation(k, samples) & samples.valid)
        for k in range(folds.count)
    ]
    labels = samples.risk & usable
    every_trial = fit_heads(features, labels, rows, layers, config, progress)
    fitted, trial = _best_trial(every_trial)
    logits = head_logits(fitted.heads, features)
    validation = np.asarray(
        [
            [
                _mean_auroc(logits[i, k][r.validation], labels[r.validation])
                for k, r in enumerate(rows)
            ]
            for i in range(len(layers))
        ]
    )
    chosen = _best_layer(validation, fitted.validation_loss, axis=0)  # [K]
    risk = np.zeros(samples.risk.shape, np.float32)
    members, thresholds = [], []
    for k, r in enumerate(rows):
        at = chosen[k]
        base = smoothed_rate(samples.risk[r.train])
        platt = fit_platt(logits[at, k][r.validation], labels[r.validation], base)
        member = _calibrated(_pick(fitted.heads, (at, k)), platt, base, usable)
        predicted = _calibration_of(member)(logits[at, k]).astype(np.float32)
        test, check = folds.test(k, samples), folds.validation(k, samples)
        risk[test] = predicted[test]
        gate = gate_threshold(
            predicted[check], samples.episode[check], samples.clean, usable, base, rate
        )
        members.append(member)
        thresholds.append(gate.threshold)
    return CrossFit(
        members=jax.tree.map(lambda *leaves: np.stack(leaves), *members),
        threshold=np.stack(thresholds),
        risk=risk,
        layers=tuple(layers),
        validation_auroc=validation,
        fitted=fitted,
        trial=trial,
    )


def final_head(
    crossed: CrossFit,
    features: np.ndarray,
    samples: Samples,
    folds: Folds,
    usable: np.ndarray,
    config: TrainConfig,
    rate: float,
) -> FinalHead:
    """Refits the best layer to every scene for as many epochs as the folds needed.

    Calibration and threshold come from the folds' out-of-sample logits at that layer.
    """
    per_layer = np.asarray(
        [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan
         for row in crossed.validation_auroc]
    )  # fmt: skip
    at = int(_best_layer(per_layer[:, None], crossed.fitted.validation_loss.mean(1)[:, None], 0)[0])
    noise, seed = config.trials[int(np.median(crossed.trial[at]))]
    epochs = max(1, int(np.median(crossed.fitted.best_epoch[at])))
    refit = replace(
        config, epochs=epochs, input_noise=(noise,), seeds=1, seed=config.seed + 1 + seed
    )
    labels, here = samples.risk & usable, features[:, at : at + 1]
    everyone = Rows(samples.valid, np.zeros(len(samples), bool))
    fitted = fit_heads(here, labels, [everyone], [crossed.layers[at]], refit)
    members = jax.tree.map(lambda leaf: leaf[at : at + 1], crossed.fitted.heads)
    logits = head_logits(members, here)[0]  # [K, Q, A]
    outside = logits[folds.fold[samples.episode], np.arange(len(samples))]
    valid, base = samples.valid, smoothed_rate(samples.risk[samples.valid])
    platt = fit_platt(outside[valid], labels[valid], base)
    head = _calibrated(_pick(fitted.heads, (0, 0, 0)), platt, base, usable)
    probability = _calibration_of(head)(outside)
    gate = gate_threshold(probability, samples.episode, samples.clean, usable, base, rate)
    return FinalHead(jax.tree.map(jnp.asarray, head), gate, per_layer)


def predict(
    members: RiskHead, features: np.ndarray, layers: Sequence[int], member: np.ndarray
) -> np.ndarray:
    """Risk [Q, A] where query q is judged by head `member[q]` of `members` [K, ...].

    `features` is [Q, L, D]; each head reads its own of `layers`.
    """
    risk = np.zeros((len(features), members.platt_scale.shape[-1]), np.float32)
    for k in np.unique(member):
        head, rows = _pick(members, (int(k),)), member == k
        at = list(layers).index(int(head.layer))
        # Every query goes in, so that one shape is compiled for all members.
        risk[rows] = np.asarray(_probability(head, features[:, at]))[rows]
    return risk


def _best_trial(fitted: Fitted) -> tuple[Fitted, np.ndarray]:
    """The trial with the least validation loss, per layer and member."""
    trial = np.argmin(fitted.validation_loss, axis=-1)  # [L, K]

    def take(leaf):
        index = trial.reshape(*trial.shape, *(1,) * (np.ndim(leaf) - 2))
        return np.take_along_axis(np.asarray(leaf), index, axis=2)[:, :, 0]

    heads = jax.tree.map(take, fitted.heads)
    numbers = (fitted.validation_loss, fitted.best_epoch, fitted.history)
    loss, epoch, history = (take(part) for part in numbers)
    return Fitted(heads, loss, epoch, history), trial


def _best_layer(score: np.ndarray, loss: np.ndarray, axis: int) -> np.ndarray:
    """Highest validation AUROC; where none is defined, least validation loss."""
    undefined = ~np.isfinite(score).any(axis=axis, keepdims=True)
    filled = np.where(undefined, -loss, np.where(np.isfinite(score), score, -np.inf))
    return np.argmax(filled, axis=axis)


def _mean_auroc(logits: np.ndarray, labels: np.ndarray) -> float:
    each = np.asarray([auroc(logits[:, i], labels[:, i])[0] for i in range(labels.shape[1])])
    return float(each[np.isfinite(each)].mean()) if np.isfinite(each).any() else np.nan


def _calibrated(head: RiskHead, platt: Platt, base: np.ndarray, usable: np.ndarray) -> RiskHead:
    """The head with its calibration; an unusable dimension reports its base rate."""
    constant = constant_platt(base)
    return replace(
        head,
        platt_scale=np.where(usable, platt.scale, constant.scale),
        platt_shift=np.where(usable, platt.shift, constant.shift),
    )


def _calibration_of(head: RiskHead) -> Platt:
    """The calibration inside a head."""
    return Platt(np.asarray(head.platt_scale), np.asarray(head.platt_shift))


def _pick(heads: RiskHead, index: tuple[int, ...]) -> RiskHead:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], heads)
