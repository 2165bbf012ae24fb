"""From a trained risk head to evidence on any samples, and to the card of failure detectors."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.reader import RiskReader
from mist_jax.progress import progress_bar
from mist_jax.risk.detector import activation_at
from mist_jax.risk.features import EpisodeFacts, Samples
from mist_jax.risk.judging.evidence import Evidence, Forecast
from mist_jax.risk.judging.failures import failure_card
from mist_jax.risk.plan import Plan, usable_dimensions
from mist_jax.risk.splits import Folds, group_of
from mist_jax.risk.study.checkpoint import RiskMetadata, TrainedRisk, from_optional
from mist_jax.risk.study.crossfit import epochs_of, failure_scores, fit_all, member_risk
from mist_jax.risk.study.registry import DETECTORS, Registry, failure_rows


def judge(trained: TrainedRisk, samples: Samples, detectors: Registry = DETECTORS) -> Evidence:
    """Forecasts on `samples` by members that never saw their scenes (or tasks, split by task).

    A scene of the training data is judged by the cross-validation member that tested it, another
    one by the reader that ships, and by the refits of the detectors beside it: on new scenes too,
    all that is compared has learnt from the same data.

    Raises:
        UserError: the samples come from another model or site, or lack a layer that is read.
    """
    metadata = trained.metadata
    if samples.model != metadata.model:
        raise UserError(
            f"the risk head was trained on {metadata.model!r}, the dataset is of "
            f"{samples.model!r}; train it on this dataset"
        )
    if samples.site != metadata.site:
        raise UserError(f"the risk head reads {metadata.site}, these samples hold {samples.site}")
    folds = folds_of(metadata, samples)
    fold = folds.fold[samples.episode]
    new = fold == folds.count
    forecasts = {}
    for name, members in trained.members.items():
        threshold = np.stack([from_optional(row) for row in metadata.member_threshold[name]])
        ships = name == metadata.detector
        member = np.where(new, 0, fold) if ships else fold  # the refit stands after the folds'
        risk, above = member_risk(detectors[name], members, samples, member), threshold[member]
        if ships and new.any():
            risk[new] = read(trained.head, samples)[new]
            above[new] = metadata.alarm_threshold
        forecasts[name] = Forecast(risk, above)
    _, count = usable_dimensions(samples)
    usable = np.asarray(metadata.usable)
    return Evidence(samples, forecasts, metadata.detector, fold, usable, count)


def read(reader: RiskReader, samples: Samples) -> np.ndarray:
    """Risk [Q, A] as `reader` says it inside the forward, from stored activations.

    Raises:
        UserError: the layer that it reads is not stored.
    """
    activation = activation_at(samples, int(reader.layer), "the risk head")
    return np.asarray(_probability(reader, jnp.asarray(activation)))


def judge_failures(
    evidence: Evidence, plan: Plan, *, seed: int = 0, detectors: Registry = DETECTORS
) -> dict[str, Any]:
    """Fits every detector of failure on the plan's folds, makes their card, shows the progress.

    They only judge here, and so read the last stored layer, as published.
    """
    plan = replace(plan, last_layer=None)
    rows = failure_rows(detectors)
    with progress_bar("published detectors", epochs_of(rows, plan), "epoch") as bar:
        fits = fit_all(rows, evidence.samples, plan, bar.advance)
    return failure_card(evidence, failure_scores(rows, fits, evidence.samples, plan), seed=seed)


def plan_of(metadata: RiskMetadata, samples: Samples) -> Plan:
    """The plan by which a risk head was trained, on the samples it was trained on."""
    folds = folds_of(metadata, samples)
    usable, rate = np.asarray(metadata.usable), metadata.false_alarm_rate
    return Plan(folds, usable, rate, metadata.train, metadata.last_layer)


def folds_of(metadata: RiskMetadata, samples: Samples) -> Folds:
    """The folds that a risk head was tested on; episodes that it never met are in fold `count`."""
    count = len(metadata.member_threshold[metadata.detector])
    fold = [
        metadata.fold_of.get(group_name(facts, metadata.split), count) for facts in samples.episodes
    ]
    return Folds(metadata.split, np.asarray(fold), count)


def group_name(facts: EpisodeFacts, split: str) -> str:
    """A scene (or task) as it is written in `fold_of`."""
    return "/".join(str(part) for part in group_of(facts, split))


@jax.jit
def _probability(reader: RiskReader, activation: Float[Array, "Q D"]) -> Float[Array, "Q A"]:
    return reader.probability(activation)
