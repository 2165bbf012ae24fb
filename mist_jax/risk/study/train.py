"""From samples to a trained risk head, and to the cards that judge it."""

from collections.abc import Callable

from mist_jax.checkpoint import check_finite, code_version
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan, StudyConfig, usable_dimensions
from mist_jax.risk.study.checkpoint import KIND, RiskMetadata, TrainedRisk, arrays_of, to_optional
from mist_jax.risk.study.crossfit import cross_fit, final_reader, fit_all, with_refit
from mist_jax.risk.study.judge import group_name
from mist_jax.risk.study.registry import DETECTORS, Registry, contact_rows, gating


def train_risk(
    samples: Samples,
    dataset_hash: str,
    config: StudyConfig,
    progress: Callable[[int, str], None] = lambda epochs, detector: None,
    detectors: Registry = DETECTORS,
) -> TrainedRisk:
    """Cross-fits `config.detector` and all detectors of contacts, then refits them to all scenes.

    `progress` is told how many more epochs are over, and whose.

    Raises:
        UserError: too few scenes or tasks to divide into folds, a detector that cannot gate, or
            one that diverges or finds nothing to learn from.
    """
    plan = Plan.of(samples, config)
    shipping = gating(config.detector, detectors)
    rows = contact_rows(config.detector, detectors)
    fits = fit_all(rows, samples, plan, progress)
    crossed = {row.name: cross_fit(row, fits[row.name], samples, plan) for row in rows}
    for row in rows[1:]:
        crossed[row.name] = with_refit(row, crossed[row.name], fits[row.name], samples, plan)
    final = final_reader(shipping, fits[shipping.name], samples, plan)
    members = {name: c.members for name, c in crossed.items()}
    check_finite(arrays_of(final.reader, members), KIND)
    _, count = usable_dimensions(samples, config.min_positive)
    metadata = RiskMetadata(
        site=samples.site,
        layer=int(final.reader.layer),
        width=samples.activation.shape[-1],
        horizon=samples.horizon,
        share=samples.share,
        model=samples.model,
        dataset_hash=dataset_hash,
        split=config.split,
        threshold=to_optional(final.alarm.threshold),
        false_alarm_rate=config.rate,
        threshold_unit=final.alarm.unit,
        clean_units=final.alarm.clean_units,
        usable=tuple(bool(ok) for ok in plan.usable),
        n_positive=tuple(int(n) for n in count),
        stored_layers=tuple(samples.layers),
        validation_auroc=to_optional(final.validation_auroc),
        fold_of={
            group_name(facts, config.split): int(fold)
            for facts, fold in zip(samples.episodes, plan.folds.fold, strict=True)
        },
        member_threshold={
            name: tuple(to_optional(row) for row in c.threshold) for name, c in crossed.items()
        },
        last_layer=plan.last_layer,
        detector=config.detector,
        train=config.train,
        code_version=code_version(),
    )
    return TrainedRisk(final.reader, members, metadata)
