"""From samples to a trained risk head, and from a trained head to evidence on any samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import jax
import numpy as np

from mist_jax.checkpoint import code_version
from mist_jax.errors import UserError
from mist_jax.risk.baselines import baseline_features
from mist_jax.risk.checkpoint import RiskMetadata, TrainedRisk, from_optional, to_optional
from mist_jax.risk.crossfit import (
    DEFAULT_MIN_POSITIVE,
    cross_fit,
    final_head,
    predict,
    usable_dimensions,
)
from mist_jax.risk.features import EpisodeFacts, Samples
from mist_jax.risk.scorecard import HEAD, Evidence, Prediction
from mist_jax.risk.splits import Folds, group_of, make_folds
from mist_jax.risk.train import TrainConfig


@dataclass(frozen=True)
class StudyConfig:
    """How a risk head is trained and tested; `rate` is that of false alarms on clean episodes."""

    split: str = "episode"
    folds: int = 5
    rate: float = 0.15
    min_positive: int = DEFAULT_MIN_POSITIVE
    train: TrainConfig = field(default_factory=TrainConfig)


def train_risk(
    samples: Samples,
    dataset_hash: str,
    config: StudyConfig,
    progress: Callable[[str, int], None] = lambda detector, epochs: None,
) -> TrainedRisk:
    """Cross-fits the head and every baseline on the same folds, then refits the head to all.

    `progress` is told which detector is at which epoch.

    Raises:
        UserError: too few scenes or tasks to divide into folds.
    """
    folds = make_folds(samples, config.split, config.folds, config.train.seed)
    usable, count = usable_dimensions(samples, config.min_positive)
    if not usable.any():  # base rates only: no epoch would learn anything
        config = replace(config, train=replace(config.train, epochs=1))
    inputs = {HEAD: (samples.activation, samples.layers)}
    inputs |= {name: (value, (0,)) for name, value in baseline_features(samples).items()}
    crossed = {
        name: cross_fit(
            *feature, samples, folds, usable, config.train, config.rate,
            lambda epochs, name=name: progress(name, epochs),
        )
        for name, feature in inputs.items()
    }  # fmt: skip
    final = final_head(
        crossed[HEAD], samples.activation, samples, folds, usable, config.train, config.rate
    )
    metadata = RiskMetadata(
        site=samples.site,
        layer=int(final.head.layer),
        width=samples.activation.shape[-1],
        hidden=config.train.hidden,
        horizon=samples.horizon,
        share=samples.share,
        model=samples.model,
        dataset_hash=dataset_hash,
        split=config.split,
        threshold=to_optional(final.gate.threshold),
        false_alarm_rate=config.rate,
        threshold_unit=final.gate.unit,
        clean_units=final.gate.clean_units,
        usable=tuple(bool(ok) for ok in usable),
        n_positive=tuple(int(n) for n in count),
        stored_layers=tuple(samples.layers),
        validation_auroc=to_optional(final.validation_auroc),
        fold_of={
            _group(facts, config.split): int(fold)
            for facts, fold in zip(samples.episodes, folds.fold, strict=True)
        },
        member_threshold={
            name: tuple(to_optional(row) for row in c.threshold) for name, c in crossed.items()
        },
        code_version=code_version(),
    )
    return TrainedRisk(final.head, {name: c.members for name, c in crossed.items()}, metadata)


def judge(trained: TrainedRisk, samples: Samples) -> Evidence:
    """Predictions on `samples` by heads that never saw their scenes (or tasks, split by task).

    A scene of the training data is judged by the cross-validation member that tested it, another
    one by the head that ships; the baselines, of which none ships, by their first member.

    Raises:
        UserError: the samples come from another model, or lack a layer that is read.
    """
    metadata = trained.metadata
    if samples.model != metadata.model:
        raise UserError(
            f"the risk head was trained on {metadata.model!r}, the dataset is of "
            f"{samples.model!r}; train it on this dataset"
        )
    _check_layers(trained, samples)
    folds = folds_of(metadata, samples)
    new, fold = folds.count, folds.fold[samples.episode]
    features: Mapping[str, tuple] = {HEAD: (samples.activation, samples.layers)} | {
        name: (value, (0,)) for name, value in baseline_features(samples).items()
    }
    predictions = {}
    for name, members in trained.members.items():
        threshold = np.stack([from_optional(row) for row in metadata.member_threshold[name]])
        if name == HEAD:
            members = jax.tree.map(
                lambda leaves, leaf: np.concatenate([leaves, np.asarray(leaf)[None]]),
                members,
                trained.head,
            )
            threshold, judge_of = np.vstack([threshold, metadata.gate_threshold]), fold
        else:
            judge_of = np.where(fold == new, 0, fold)
        risk = predict(members, *features[name], judge_of)
        predictions[name] = Prediction(risk, threshold[judge_of])
    _, count = usable_dimensions(samples)
    return Evidence(samples, predictions, fold, np.asarray(metadata.usable), count)


def folds_of(metadata: RiskMetadata, samples: Samples) -> Folds:
    """The folds that a risk head was tested on; episodes that it never met are in fold `count`."""
    count = len(metadata.member_threshold[HEAD])
    fold = [
        metadata.fold_of.get(_group(facts, metadata.split), count) for facts in samples.episodes
    ]
    return Folds(metadata.split, np.asarray(fold), count)


def _group(facts: EpisodeFacts, split: str) -> str:
    return "/".join(str(part) for part in group_of(facts, split))


def _check_layers(trained: TrainedRisk, samples: Samples) -> None:
    read = {int(layer) for layer in np.asarray(trained.members[HEAD].layer).ravel()}
    read.add(trained.metadata.layer)
    missing = sorted(read - set(samples.layers))
    if missing:
        raise UserError(
            f"the risk head reads layers {missing} of {samples.site}, which the dataset does not "
            f"hold (it has {list(samples.layers)}); collect those layers too"
        )
