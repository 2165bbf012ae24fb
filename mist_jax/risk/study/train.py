"""From samples to a trained risk head."""

from collections.abc import Callable

from mist_jax.checkpoint import check_finite, code_version
from mist_jax.errors import UserError
from mist_jax.risk.calibration.calibrate import Method
from mist_jax.risk.features import Samples
from mist_jax.risk.perceptron.detector import HeadFit
from mist_jax.risk.plan import Plan, StudyConfig, usable_motions
from mist_jax.risk.study.checkpoint import (
    KIND,
    RiskMetadata,
    TrainedRisk,
    arrays_of,
    static_of,
    to_optional,
)
from mist_jax.risk.study.crossfit import alarm_of, cross_fit, fit_all, quiet_paths
from mist_jax.risk.study.ensemble import Ensemble
from mist_jax.risk.study.judge import group_name
from mist_jax.risk.study.registry import DETECTORS, Registry, all_rows, gating


def train_risk(
    samples: Samples,
    dataset_hash: str,
    config: StudyConfig,
    progress: Callable[[int, str], None] = lambda epochs, detector: None,
    detectors: Registry = DETECTORS,
    method: Method = "best",
) -> TrainedRisk:
    """Cross-fits `config.detector` and all others; the fold ensemble of the first one ships.

    `progress` is told how many more epochs are over, and whose. A detector of failures that has
    too few of either outcome is left out, and the metadata say so.

    Raises:
        UserError: too few scenes or tasks to divide into folds, a detector that cannot gate, or
            one that diverges or finds nothing to learn from.
    """
    samples = samples.about(config.target)
    plan = Plan.of(samples, config)
    shipping = gating(config.detector, detectors)
    rows = all_rows(config.detector, detectors)
    fits = fit_all(rows, samples, plan, progress)
    ensembles: dict[str, Ensemble] = {}
    absent: dict[str, str] = {}
    for row in rows:
        try:
            ensembles[row.name] = cross_fit(row, fits[row.name], samples, plan, method)
        except UserError as error:
            if row.claims == "contact" or row.name == shipping.name:
                raise
            absent[row.name] = str(error)
    ships, quiet = ensembles[shipping.name], quiet_paths(samples, plan)
    platts = [ships.platt(judge) for judge in range(ships.count + 1)]
    reader = shipping.ship(ships.members, platts[:-1], platts[-1], samples, plan)
    alarm = alarm_of(ships, ships.count, quiet, plan.usable, plan.rate)
    check_finite(arrays_of(reader, ensembles, quiet), KIND)
    _, count = usable_motions(samples, config.min_positive)
    fit = fits[shipping.name]
    sites = (samples.site, *(site for site in samples.sites if site != samples.site))
    metadata = RiskMetadata(
        sites=sites,
        widths=tuple(samples.sites[site].values.shape[-1] for site in sites),
        layer=int(reader.layer),
        horizon=samples.horizon,
        share=samples.share,
        target=config.target,
        model=samples.model,
        dataset_hash=dataset_hash,
        split=config.split,
        folds=plan.folds.count,
        threshold=to_optional(alarm.threshold),
        false_alarm_rate=config.rate,
        threshold_unit=alarm.unit,
        clean_units=alarm.clean_units,
        usable=tuple(bool(ok) for ok in plan.usable),
        n_positive=tuple(int(n) for n in count),
        stored_layers=tuple(samples.layers),
        choices=_choices(fit) if isinstance(fit, HeadFit) else {},
        role_of={
            group_name(facts, config.split): int(role)
            for facts, role in zip(samples.episodes, plan.folds.fold, strict=True)
        },
        static=static_of(reader),
        absent=absent,
        last_layer=plan.last_layer,
        detector=config.detector,
        train=config.train,
        safe_epochs=config.safe_epochs,
        code_version=code_version(),
    )
    return TrainedRisk(reader, ensembles, quiet, metadata)


def _choices(fit: HeadFit) -> dict[str, float]:
    return dict(zip(fit.choices, fit.loss.mean(axis=1).tolist(), strict=True))
