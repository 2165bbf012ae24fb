"""A perceptron as a detector of contacts: one per fold, at the layer its validation fold likes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.intervention.risk_head import RiskHead
from mist_jax.risk.detector import Claim, Fit, Member, Progress
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.metrics import mean_auroc
from mist_jax.risk.perceptron.training import Fitted, fit_heads, head_logits
from mist_jax.risk.plan import Plan

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
        chosen = best_layer(validation, fitted.validation_loss, axis=0)  # [K]
        members = [_member(fitted.heads, (int(at), k)) for k, at in enumerate(chosen)]
        return PerceptronFit(members, tuple(layers), validation, fitted, trial)

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


def best_layer(score: np.ndarray, loss: np.ndarray, axis: int) -> np.ndarray:
    """Highest validation AUROC; where none is defined, least validation loss."""
    undefined = ~np.isfinite(score).any(axis=axis, keepdims=True)
    filled = np.where(undefined, -loss, np.where(np.isfinite(score), score, -np.inf))
    return np.argmax(filled, axis=axis)


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
