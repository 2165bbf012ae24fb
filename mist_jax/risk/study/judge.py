"""From a trained risk head to evidence on any samples, and to who was judged by whom."""

from collections.abc import Sequence

import numpy as np

from mist_jax.errors import UserError
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.registry import ALARM_RULES
from mist_jax.risk.detector import Detector
from mist_jax.risk.features import EpisodeFacts, Samples
from mist_jax.risk.judging.evidence import Evidence, Forecast
from mist_jax.risk.plan import usable_motions
from mist_jax.risk.splits import Folds, group_of
from mist_jax.risk.study.checkpoint import RiskMetadata, TrainedRisk
from mist_jax.risk.study.crossfit import alarm_of
from mist_jax.risk.study.ensemble import Ensemble, alarm_score
from mist_jax.risk.study.registry import DETECTORS, Registry, group_of_detector
from mist_jax.risk.subset import of_episodes
from mist_jax.risk.watched import paths_of, watched

NOMINAL = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # rates at which the coverage of alarms is told


def judge(
    trained: TrainedRisk,
    samples: Samples,
    detectors: Registry = DETECTORS,
    rates: Sequence[float] = NOMINAL,
) -> Evidence:
    """Forecasts by members that never saw the scenes (or tasks, split by task) that they judge.

    A scene of the training data is judged by the member that its fold tested, a new one by the fold
    ensembles. Scenes that calibrated or set thresholds are left out. `rates` are those at which
    alarms are raised beside the one that was trained for, to see how far rules keep them.

    Raises:
        UserError: the samples come from another model, lack a site or layer that is read, or all
            of their scenes calibrated or set thresholds.
    """
    metadata = trained.metadata
    _check(metadata, samples)
    samples = samples.about(metadata.target)
    role = folds_of(metadata, samples).fold
    judged = of_episodes(samples, role >= 0, activations=False)
    if not judged.episodes:
        raise UserError("every scene of the dataset calibrated the risk head or set its thresholds")
    by_role = role[role >= 0][judged.episode]
    # The subject first, then the registry's order: arrays on disk have none.
    order_of = dict.fromkeys((metadata.detector, *detectors))
    known = [name for name in order_of if name in trained.ensembles]
    said: dict[str, list[Forecast]] = {name: [] for name in known}
    absent: dict[str, str] = {}
    roles = np.unique(by_role)
    for k in roles:
        part = of_episodes(samples, role == k)
        for name in known:
            ensemble = trained.ensembles[name]
            if name in absent:
                continue
            try:
                one = _forecast(trained, detectors[name], ensemble, part, int(k), rates)
            except UserError as error:  # data without what a probe reads
                if detectors[name].claims == "contact" or name == metadata.detector:
                    raise
                absent[name] = str(error)
            else:
                said[name].append(one)
    order = np.argsort(np.concatenate([np.flatnonzero(by_role == k) for k in roles]))
    _, count = usable_motions(judged)
    return Evidence(
        samples=judged,
        forecasts={
            name: Forecast.joined(parts, order)
            for name, parts in said.items()
            if name not in absent
        },
        subject=metadata.detector,
        stratum=by_role,
        usable=np.asarray(metadata.usable),
        n_positive=count,
        rate=metadata.false_alarm_rate,
        absent=absent,
        groups={name: group_of_detector(detectors[name]) for name in said},
    )


def folds_of(metadata: RiskMetadata, samples: Samples) -> Folds:
    """The roles that scenes have in a risk head; those that it never met are in fold `count`."""
    count = metadata.folds
    role = [
        metadata.role_of.get(group_name(facts, metadata.split), count) for facts in samples.episodes
    ]
    return Folds(metadata.split, np.asarray(role), count)


def group_name(facts: EpisodeFacts, split: str) -> str:
    """A scene (or task) as it is written in `role_of`."""
    return "/".join(str(part) for part in group_of(facts, split))


def _check(metadata: RiskMetadata, samples: Samples) -> None:
    if samples.model != metadata.model:
        raise UserError(
            f"the risk head was trained on {metadata.model!r}, the dataset is of "
            f"{samples.model!r}; train it on this dataset"
        )
    missing = [site for site in metadata.sites if site not in samples.sites]
    if missing:
        raise UserError(
            f"the risk head reads {', '.join(metadata.sites)}; these samples lack "
            f"{', '.join(missing)}"
        )


def _forecast(
    trained: TrainedRisk,
    detector: Detector,
    ensemble: Ensemble,
    part: Samples,
    judge: int,
    rates: Sequence[float],
) -> Forecast:
    """What one judge says of the scenes that are its to judge."""
    meta = trained.metadata
    usable, rate, rows = np.asarray(meta.usable), meta.false_alarm_rate, watched(part)
    risk, score = ensemble.risk(detector, part, judge)
    quiet = trained.quiet.with_score(np.asarray(ensemble.quiet_score)[judge].astype(np.float64))
    alarm = alarm_of(ensemble, judge, trained.quiet, usable, rate)
    seen = alarm_score(detector, risk, score, usable).astype(np.float64)
    paths = paths_of(part, seen, rows)
    asked = sorted({rate, *rates} if detector.name == meta.detector else {rate})
    alarms = {one: _raised(quiet, paths, rows, one, bool(usable.any())) for one in asked}
    return Forecast(
        risk=risk,
        threshold=np.broadcast_to(alarm.threshold, risk.shape),
        alarm_score=seen if detector.claims == "contact" else _standardised(seen, quiet.score),
        alarms=alarms[rate],
        at_rates=alarms,
        score=score if detector.claims == "failure" else None,
    )


def _standardised(score: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    """In spreads of the clean queries, for one level serves all judges, and members differ."""
    if len(quiet) == 0:
        return score
    return (score - quiet.mean()) / (quiet.std() or 1.0)


def _raised(
    quiet: ScorePaths, paths: ScorePaths, rows: np.ndarray, rate: float, learnt: bool
) -> dict[str, np.ndarray]:
    """bool [Q] of every rule."""
    raised = {name: np.zeros(len(rows), bool) for name in ALARM_RULES}
    if learnt:
        for name, rule in ALARM_RULES.items():
            raised[name][rows] = rule.fit(quiet, rate).raised(paths)
    return raised
