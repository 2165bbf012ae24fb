"""A perceptron as a detector of contacts: one per fold, at the layer its validation fold likes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.intervention.risk_head import RiskHead
from mist_jax.risk.detector import Claim, Fit, Member, Progress, Refit
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.metrics import mean_auroc
from mist_jax.risk.perceptron.training import Fitted, fit_heads, head_logits
from mist_jax.risk.plan import Plan
from mist_jax.risk.splits import Rows

CALIBRATION = ("platt_scale", "platt_shift")  # of a head; a member's stands beside it


@dataclass(frozen=True)
class PerceptronFit(Fit):
    """The members, and the heads of all layers that they were chosen from."""

    layers: tuple[int, ...]
    validation_auroc: np.ndarray  # float [L, K], mean over the usable dimensions
    fitted: Fitted  # one trial per layer and member: leaves [L, K, ...]
    trial: np.ndarray  # int [L, K], index into TrainConfig.trials


@dataclass(frozen=True)
class Perceptron:
    """`inputs` gives what is read of the table: features [Q, L, D], and the names of the layers."""

    name: str
    inputs: Callable[[Samples], tuple[np.ndarray, tuple[int, ...]]]
    claims: Claim = "contact"

    @property
    def learner(self) -> str:
        return self.name

    def epochs(self, plan: Plan) -> int:
        return plan.train.epochs

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> PerceptronFit:
        """Heads of all layers, folds and trials at once; validation rows stop and choose."""
        features, layers = self.inputs(samples)
        rows = [plan.folds.labelled(k, samples) for k in range(plan.folds.count)]
        labels = samples.risk & plan.usable
        every_trial = fit_heads(features, labels, rows, layers, plan.train, progress)
        fitted, trial = _best_trial(every_trial)
        logits = head_logits(fitted.heads, features)
        validation = np.asarray(
            [
                [
                    mean_auroc(logits[i, k][r.validation], labels[r.validation])
                    for k, r in enumerate(rows)
                ]
                for i in range(len(layers))
            ]
        )
        allowed = self.may_read(layers, plan)[:, None]
        chosen = best_layer(validation, fitted.validation_loss, allowed)  # [K]
        members = [_member(fitted.heads, (int(at), k)) for k, at in enumerate(chosen)]
        return PerceptronFit(members, tuple(layers), validation, fitted, trial)

    def may_read(self, layers: Sequence[int], plan: Plan) -> np.ndarray:
        """bool [L]: the layers to choose from; what only judges may read all there are."""
        return np.ones(len(layers), bool)

    def refit(self, fit: PerceptronFit, samples: Samples, plan: Plan) -> Refit:
        """Refits the best layer to every scene for as many epochs as the folds needed.

        What calibrates it are the folds' out-of-sample logits at that layer.
        """
        crossed, config, folds = fit, plan.train, plan.folds
        per_layer = np.asarray(
            [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan
             for row in crossed.validation_auroc]
        )  # fmt: skip
        loss = crossed.fitted.validation_loss.mean(1)
        allowed = self.may_read(crossed.layers, plan)
        at = int(best_layer(per_layer[:, None], loss[:, None], allowed[:, None])[0])
        noise, seed = config.trials[int(np.median(crossed.trial[at]))]
        epochs = max(1, int(np.median(crossed.fitted.best_epoch[at])))
        again = replace(
            config, epochs=epochs, input_noise=(noise,), seeds=1, seed=config.seed + 1 + seed
        )
        features, _ = self.inputs(samples)
        labels, here = samples.risk & plan.usable, features[:, at : at + 1]
        everyone = Rows(samples.valid, np.zeros(len(samples), bool))
        fitted = fit_heads(here, labels, [everyone], [crossed.layers[at]], again)
        members = jax.tree.map(lambda leaf: leaf[at : at + 1], crossed.fitted.heads)
        logits = head_logits(members, here)[0]  # [K, Q, A]
        outside = logits[folds.fold[samples.episode], np.arange(len(samples))]
        return Refit(_member(fitted.heads, (0, 0, 0)), outside, per_layer)

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Uncalibrated logits [Q, A]."""
        features, layers = self.inputs(samples)
        at = layers.index(int(member["layer"]))
        return one_logits(head_of(member), features[:, at])


def head_of(member: Member) -> RiskHead:
    """The head that a member's arrays are, without its calibration."""
    dims = np.shape(member["output_bias"])[-1]
    return RiskHead(**member, platt_scale=jnp.ones(dims), platt_shift=jnp.zeros(dims))


def one_logits(head: RiskHead, features: np.ndarray) -> np.ndarray:
    """Uncalibrated logits [Q, A] of one head on `features` [Q, D]."""
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], head)
    return head_logits(one, features[:, None])[0, 0]


def best_layer(score: np.ndarray, loss: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Of the `allowed` layers (bool [L, 1]) the one of highest validation AUROC [L, K], int [K].

    Where none is defined, that of least validation `loss` [L, K].
    """
    undefined = ~(np.isfinite(score) & allowed).any(axis=0, keepdims=True)
    filled = np.where(undefined, -loss, np.where(np.isfinite(score), score, -np.inf))
    return np.argmax(np.where(allowed, filled, -np.inf), axis=0)


def pick(heads: RiskHead, index: Sequence[int]) -> RiskHead:
    """One of many heads whose leaves start alike."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[tuple(index)], heads)


def _member(heads: RiskHead, index: Sequence[int]) -> Member:
    head = pick(heads, index)
    leaves = [field.name for field in fields(head) if field.metadata.get("pytree_node", True)]
    return {name: getattr(head, name) for name in leaves if name not in CALIBRATION}


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
