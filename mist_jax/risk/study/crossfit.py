"""Cross-fitting: every score that is reported comes from a member that never saw its scene.

Member k is fitted without fold k; fold k is only predicted. Scenes outside the folds calibrate all
members and their ensemble, others set thresholds. All detectors go through the same code.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from mist_jax.errors import UserError
from mist_jax.risk.calibration.calibrate import Method, calibrate
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.platt import Platt, logit, smoothed_rate
from mist_jax.risk.calibration.split_conformal import (
    AlarmThreshold,
    alarm_threshold,
    largest_risk,
)
from mist_jax.risk.detector import Detector, Fit, Member, per_motion
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan
from mist_jax.risk.splits import CALIBRATE, THRESHOLD
from mist_jax.risk.study.ensemble import Ensemble, alarm_score
from mist_jax.risk.subset import of_episodes
from mist_jax.risk.watched import paths_of, watched


def fit_all(
    detectors: Sequence[Detector],
    samples: Samples,
    plan: Plan,
    progress: Callable[[int, str], None] = lambda epochs, detector: None,
) -> dict[str, Fit]:
    """The fit of each detector by its name; those of one learner share theirs.

    `progress` is told how many more epochs are over, and whose.
    """
    by_learner: dict[str, Fit] = {}
    for detector in detectors:
        if detector.learner not in by_learner:
            by_learner[detector.learner] = _fit(detector, samples, plan, progress)
    return {detector.name: by_learner[detector.learner] for detector in detectors}


def epochs_of(detectors: Sequence[Detector], plan: Plan) -> int:
    """How many epochs `fit_all` of these takes at most."""
    return sum({detector.learner: detector.epochs(plan) for detector in detectors}.values())


def cross_fit(
    detector: Detector, fit: Fit, samples: Samples, plan: Plan, method: Method = "best"
) -> Ensemble:
    """Calibrates the members and their ensemble, and keeps what sets their thresholds.

    Raises:
        UserError: a fold offered this detector nothing to learn from.
    """
    missing = [k for k, member in enumerate(fit.members) if member is None]
    if missing:
        raise UserError(
            f"{detector.name} found nothing to learn from in the training part of fold "
            f"{missing[0]}; it needs more episodes, of failures and of successes"
        )
    members = [narrowed(member) for member in fit.members if member is not None]
    folds, usable = plan.folds, plan.usable
    outside = of_episodes(samples, folds.fold < 0)
    role = folds.fold[folds.fold < 0][outside.episode]
    rows = (role == CALIBRATE) & outside.valid
    labels = outside.risk[rows] & usable
    quiet = (role == THRESHOLD) & watched(outside) & outside.clean[outside.episode]
    platts, scores, risks = [], [], []
    for k, member in enumerate(members):
        base = smoothed_rate(samples.risk[folds.labelled(k, samples).train & samples.valid])
        scores.append(detector.score(member, outside))
        score = per_motion(scores[-1])
        platts.append(calibrate(score[rows], labels, base, usable, method))
        risks.append(platts[-1](score))
    base = smoothed_rate(samples.risk[folds.tested(samples) & samples.valid])
    together = logit(np.mean(risks, axis=0))
    platts.append(calibrate(together[rows], labels, base, usable, method))
    risks.append(platts[-1](together))
    scores.append(np.mean(scores, axis=0))
    told = [risk[quiet].astype(np.float32) for risk in risks]  # as `Ensemble.risk` tells it
    seen = [
        alarm_score(detector, risk, score[quiet], usable)
        for risk, score in zip(told, scores, strict=True)
    ]
    largest = [largest_risk(risk, usable).astype(np.float32) for risk in told]
    return Ensemble(members, *_stacked(platts), np.stack(seen), np.stack(largest))


def quiet_paths(samples: Samples, plan: Plan) -> ScorePaths:
    """The clean queries that set thresholds; each detector's `Ensemble` has the scores."""
    rows = plan.folds.threshold(samples) & watched(samples) & samples.clean[samples.episode]
    return paths_of(samples, np.zeros(len(samples)), rows)


def alarm_of(
    ensemble: Ensemble, judge: int, quiet: ScorePaths, usable: np.ndarray, rate: float
) -> AlarmThreshold:
    """The thresholds [M] that gates hold, of one judge."""
    scored = quiet.with_score(np.asarray(ensemble.quiet_risk)[judge].astype(np.float64))
    return alarm_threshold(scored, usable, rate)


def narrowed(member: Member) -> Member:
    """In the dtypes that JAX keeps, so that a stored member is the one that was judged."""
    return {name: jax.tree.map(_narrow, leaf) for name, leaf in member.items()}


def _narrow(leaf: np.ndarray) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


def _stacked(platts: Sequence[Platt]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([p.scale for p in platts]), np.stack([p.shift for p in platts])


def _fit(
    detector: Detector, samples: Samples, plan: Plan, progress: Callable[[int, str], None]
) -> Fit:
    left = detector.epochs(plan)

    def over(epochs: int) -> None:
        nonlocal left
        left -= epochs
        progress(epochs, detector.name)

    fit = detector.fit(samples, plan, over)
    progress(left, detector.name)  # those that an early stop saved
    return fit
