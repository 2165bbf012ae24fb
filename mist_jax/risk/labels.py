"""What is to be predicted, computed from an episode alone (docs/definitions.md).

A query at step t sees the world before the action of step t. A harmful contact that begins during
one of the steps t .. t + horizon - 1 lies within its horizon.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE, Contact
from mist_jax.record.episode import Episode

STILL = 1e-5  # m/s or rad/s; less is rounding, not motion


@dataclass(frozen=True)
class RiskLabels:
    """Labels of one episode's queries.

    `risk`: a harmful contact that dimension i drives begins within the horizon. `valid` is False
    where there is nothing to predict: inside a running harmful contact, or where a crash or a
    time-out cut the horizon short before a contact came. `sign` is the direction of motion of
    dimension i at the first such contact (0: no contact, or no motion); `steps_to_onset` counts
    control steps to it, inf where there is none.
    """

    risk: np.ndarray  # bool [Q, A]
    valid: np.ndarray  # bool [Q]
    sign: np.ndarray  # int8 [Q, A]
    steps_to_onset: np.ndarray  # float32 [Q, A]


@dataclass(frozen=True)
class FailureLabels:
    """SAFE's labels (arXiv 2506.09937) of one episode's queries.

    `steps_to_failure` runs to the episode's end where it failed, inf where it succeeded. A crash is
    no failure: `valid` is False throughout.
    """

    failed: bool
    steps_to_failure: np.ndarray  # float32 [Q]
    fail_within: np.ndarray  # bool [Q]
    valid: np.ndarray  # bool [Q]


def risk_labels(
    episode: Episode, horizon: int = DEFAULT_HORIZON, share: float = DEFAULT_SHARE
) -> RiskLabels:
    """Per-dimension contact labels of every query of `episode`."""
    query_step = np.asarray(episode.queries.step, np.int64)
    dims = len(ACTION_DIMENSIONS)
    onset_step, onset_share, onset_sign = _onsets(episode)
    ahead = onset_step[None, :] - query_step[:, None]  # [Q, onset]
    drives = ((ahead >= 0) & (ahead < horizon))[..., None] & (onset_share >= share)[None]
    distance = np.where(drives, ahead[..., None], np.inf)  # [Q, onset, A]
    valid = ~_inside(harmful_runs(episode.contacts), query_step)
    if episode.outcome != "success":  # after a success nothing follows: that is known, not cut
        seen_to_the_end = query_step + horizon <= len(episode.steps)
        valid &= seen_to_the_end | drives.any(axis=(1, 2))
    if len(onset_step) == 0:
        nothing = np.zeros((len(query_step), dims))
        return RiskLabels(
            nothing > 0, valid, nothing.astype(np.int8), np.full_like(nothing, np.inf, np.float32)
        )
    first = distance.argmin(axis=1)  # [Q, A]
    steps_to_onset = np.where(valid[:, None], distance.min(axis=1), np.inf)
    risk = np.isfinite(steps_to_onset)
    sign = np.where(risk, onset_sign[first, np.arange(dims)], 0)
    return RiskLabels(risk, valid, sign.astype(np.int8), steps_to_onset.astype(np.float32))


def failure_labels(episode: Episode, within: int = DEFAULT_HORIZON) -> FailureLabels:
    """Outcome, time to failure and fail-within-`within` for every query of `episode`."""
    query_step = np.asarray(episode.queries.step, np.float32)
    failed = episode.outcome == "failure"
    left = len(episode.steps) - query_step if failed else np.full_like(query_step, np.inf)
    valid = np.full(len(query_step), episode.outcome != "crashed")
    return FailureLabels(failed, left, left <= within, valid)


def harmful_runs(contacts: Sequence[Contact]) -> tuple[tuple[int, int], ...]:
    """First and last step of every harmful contact, one entry per onset of a pair of bodies.

    A pair's contact lasts from its onset to its last harmful step before its next onset, so that a
    chattering contact that the recorder counts once is one run here too.
    """
    by_pair: defaultdict[tuple[str, str], list[Contact]] = defaultdict(list)
    for contact in contacts:
        if contact.harmful:
            by_pair[contact.robot_body, contact.obstacle_body].append(contact)
    runs: list[tuple[int, int]] = []
    for pair in by_pair.values():
        pair.sort(key=lambda contact: contact.step)
        for index, contact in enumerate(pair):
            if contact.onset or index == 0:
                runs.append((contact.step, contact.step))
            else:
                runs[-1] = (runs[-1][0], contact.step)
    return tuple(sorted(runs))


def _onsets(episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps [K], shares [K, A] and signs of motion [K, A] of the harmful onsets."""
    onsets = episode.harmful_onsets
    dims = len(ACTION_DIMENSIONS)
    step = np.asarray([c.step for c in onsets], np.int64)
    share = np.asarray([c.share for c in onsets], np.float64).reshape(-1, dims)
    motion = np.asarray([c.motion for c in onsets], np.float64).reshape(-1, dims)
    return step, share, np.where(np.abs(motion) > STILL, np.sign(motion), 0)


def _inside(runs: Sequence[tuple[int, int]], step: np.ndarray) -> np.ndarray:
    """Whether the instant before each step lies inside a run: it began earlier and goes on."""
    inside = np.zeros(len(step), bool)
    for first, last in runs:
        inside |= (first < step) & (step <= last)
    return inside
