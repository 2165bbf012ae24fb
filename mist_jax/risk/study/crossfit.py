"""Cross-fitting: every score that is reported comes from a member that never saw its scene.

For each fold a member is fitted; the next fold stops and chooses it, calibrates it and sets its
alarm threshold; the fold itself is only predicted. All detectors go through the same code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.reader import RiskReader
from mist_jax.risk.calibration import (
    AlarmThreshold,
    Platt,
    alarm_threshold,
    calibration,
    smoothed_rate,
)
from mist_jax.risk.detector import (
    Detector,
    Fit,
    GatingDetector,
    Member,
    RefittingDetector,
    per_dimension,
)
from mist_jax.risk.features import Samples
from mist_jax.risk.plan import Plan

PLATT = ("platt_scale", "platt_shift")  # of each member, beside its own arrays


@dataclass(frozen=True)
class CrossFit:
    """A detector's word on contacts, cross-validated.

    `members` are the members' arrays and their calibration, stacked: leaves [K, ...]. Member k
    tests fold k and raises alarms above `threshold[k]`. `risk` is what the members say of their own
    test queries. After `with_refit` there is one more member, the last, for new scenes.
    """

    members: Member
    threshold: np.ndarray  # float [K, A]
    risk: np.ndarray  # float32 [Q, A]


@dataclass(frozen=True)
class FinalReader:
    """What ships: refitted to all scenes, calibrated on out-of-sample scores."""

    reader: RiskReader
    alarm: AlarmThreshold
    validation_auroc: np.ndarray  # float [L], mean over folds


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


def cross_fit(detector: Detector, fit: Fit, samples: Samples, plan: Plan) -> CrossFit:
    """Calibrates the members on their validation folds, and predicts their test folds."""
    labels, folds = samples.risk & plan.usable, plan.folds
    risk = np.zeros(samples.risk.shape, np.float32)
    members, thresholds = [], []
    for k, member in enumerate(fit.members):
        if member is None:
            raise UserError(
                f"{detector.name} found nothing to learn from in the training part of fold {k}; "
                "it needs more episodes, of failures and of successes"
            )
        rows = folds.labelled(k, samples)
        stored = {name: _narrowed(leaf) for name, leaf in member.items()}
        score = per_dimension(detector.score(stored, samples))
        base = smoothed_rate(samples.risk[rows.train])
        platt = calibration(score[rows.validation], labels[rows.validation], base, plan.usable)
        predicted = platt(score).astype(np.float32)
        test, check = folds.test(k, samples), folds.validation(k, samples)
        risk[test] = predicted[test]
        alarm = alarm_threshold(
            predicted[check], samples.episode[check], samples.clean, plan.usable, base, plan.rate
        )
        members.append({**stored, **dict(zip(PLATT, (platt.scale, platt.shift), strict=True))})
        thresholds.append(alarm.threshold)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    return CrossFit(stacked, np.stack(thresholds), risk)


def with_refit(
    detector: Detector, crossed: CrossFit, fit: Fit, samples: Samples, plan: Plan
) -> CrossFit:
    """`crossed` and, as the last member, the refit to all scenes, calibrated as what ships is.

    Raises:
        UserError: the detector cannot be refitted.
    """
    if not isinstance(detector, RefittingDetector):
        raise UserError(
            f"the detector {detector.name!r} claims contacts and has no `refit`: on new scenes it "
            "could not be compared with a risk head that is fitted to all others"
        )
    refit = detector.refit(fit, samples, plan)
    platt, alarm = _outside_calibration(refit.outside, samples, plan)
    last = {name: _narrowed(leaf) for name, leaf in refit.member.items()}
    last |= dict(zip(PLATT, (platt.scale, platt.shift), strict=True))
    members = {name: np.stack([*leaf, last[name]]) for name, leaf in crossed.members.items()}
    return CrossFit(members, np.stack([*crossed.threshold, alarm.threshold]), crossed.risk)


def final_reader(detector: GatingDetector, fit: Fit, samples: Samples, plan: Plan) -> FinalReader:
    """The reader that ships; calibration and threshold come from out-of-sample scores."""
    shipped = detector.ship(fit, samples, plan)
    platt, alarm = _outside_calibration(shipped.outside, samples, plan)
    return FinalReader(shipped.reader(platt), alarm, shipped.validation_auroc)


def _outside_calibration(
    scores: np.ndarray, samples: Samples, plan: Plan
) -> tuple[Platt, AlarmThreshold]:
    """Of a refit, by out-of-sample `scores` of every query."""
    outside, valid = per_dimension(scores), samples.valid
    labels, base = samples.risk & plan.usable, smoothed_rate(samples.risk[valid])
    platt = calibration(outside[valid], labels[valid], base, plan.usable)
    alarm = alarm_threshold(
        platt(outside), samples.episode, samples.clean, plan.usable, base, plan.rate
    )
    return platt, alarm


def member_risk(
    detector: Detector, members: Member, samples: Samples, member: np.ndarray
) -> np.ndarray:
    """Risk [Q, A] where query q is judged by member `member[q]` (int [Q]) of `members` [K, ...]."""
    risk = np.zeros((len(samples), np.shape(members[PLATT[0]])[-1]), np.float32)
    for k in np.unique(member):
        one = {name: np.asarray(leaf)[k] for name, leaf in members.items()}
        platt = Platt(*(one.pop(name) for name in PLATT))
        rows = member == k
        risk[rows] = platt(per_dimension(detector.score(one, samples)))[rows]
    return risk


def failure_scores(
    detectors: Sequence[Detector], fits: Mapping[str, Fit], samples: Samples, plan: Plan
) -> dict[str, np.ndarray]:
    """Scores [Q] of every query by members that saw nothing of its fold.

    nan where there is none: in crashed episodes, and in folds that offered nothing to learn from.
    """
    ended = samples.ended[samples.episode]
    scores = {}
    for detector in detectors:
        found = np.full(len(samples), np.nan)
        for k, member in enumerate(fits[detector.name].members):
            if member is not None:
                rows = plan.folds.test(k, samples) & ended
                found[rows] = detector.score(member, samples)[rows]
        scores[detector.name] = found
    return scores


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


def _narrowed(leaf: np.ndarray) -> np.ndarray:
    """In the dtype that JAX keeps it in, so that a stored member is the one that was judged."""
    array = np.asarray(leaf)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
