"""Alarms told by episode: clean ones that were alarmed, first events that were announced ahead."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.judging.alarms import run_starts
from mist_jax.risk.judging.resampling import Resampling

AHEAD_STEPS = 8  # one query of the policy; a later alarm comes when the chunk that hits is running


@dataclass(frozen=True)
class Announcing:
    """What the alarms of one rule came to, per episode; float [episodes] each, to be resampled.

    `ahead`: of episodes with an event, an alarm was raised `AHEAD_STEPS` or more before the first
    one, however long before; `in_time`: one that is within the horizon too, nan where the horizon
    is no longer than that. `lead`: control steps from the first alarm to the event, where `ahead`.
    `runs` are runs of consecutive alarms.
    """

    clean: np.ndarray
    alarmed: np.ndarray  # clean episodes alone
    runs: np.ndarray  # clean episodes alone
    event: np.ndarray
    ahead: np.ndarray
    in_time: np.ndarray
    lead: np.ndarray
    cluster: np.ndarray  # int [episodes]

    def figures(self, resampling: Resampling) -> dict[str, np.ndarray]:
        """float [1 + replicates] of each."""

        def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            return resampling.share(part, whole, self.cluster)

        return {
            "clean_episodes_alarmed": share(self.alarmed, self.clean),
            "false_alarms_per_clean_episode": share(self.runs, self.clean),
            "announced_ahead": share(self.ahead, self.event),
            "announced_within_horizon": share(self.in_time, self.event),
            "lead_steps": share(self.lead, self.ahead),
        }


def first_event_step(samples: Samples) -> np.ndarray:
    """float [episodes]: the control step of the first harmful event; inf where there is none."""
    return np.asarray([facts.first_event for facts in samples.episodes], float)


def announcing(samples: Samples, raised: np.ndarray, cluster: np.ndarray) -> Announcing:
    """Counts alarms `raised` (bool [Q]); `cluster` is int [episodes].

    Alarms after an episode's first event count for nothing: who is watched then is no longer the
    policy alone.
    """
    step, event = samples.step, first_event_step(samples)
    due = event[samples.episode]
    counts = len(samples.episodes)

    def any_of(rows: np.ndarray) -> np.ndarray:
        return np.bincount(samples.episode, rows, counts) > 0

    early = raised & (step <= due - AHEAD_STEPS)
    clean, has_event = samples.clean, np.isfinite(event)
    ahead = any_of(early) & has_event
    in_time = any_of(early & (step > due - samples.horizon)) & has_event
    first = np.full(counts, np.inf)
    np.minimum.at(first, samples.episode[early], step[early])
    runs = np.bincount(samples.episode, run_starts(raised, samples.episode), counts)
    return Announcing(
        clean=clean.astype(float),
        alarmed=(any_of(raised) & clean).astype(float),
        runs=runs * clean,
        event=has_event.astype(float),
        ahead=ahead.astype(float),
        in_time=in_time.astype(float) if samples.horizon > AHEAD_STEPS else np.full(counts, np.nan),
        lead=np.where(ahead, event, 0.0) - np.where(ahead, first, 0.0),
        cluster=cluster,
    )


def trade_off(samples: Samples, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of clean episodes alarmed and of first events announced ahead, at every level.

    From none to all, of `score` (float [Q], what alarm rules see); the level is one for all
    episodes, so that this is what a rule that knew the test scenes could choose from.
    """
    event = first_event_step(samples)
    watched = samples.labels["first"].open
    early = watched & (samples.step <= event[samples.episode] - AHEAD_STEPS)
    clean, eventful = samples.clean, np.isfinite(event)
    peak = np.full((2, len(event)), -np.inf)
    for row, rows in enumerate((watched, early)):
        np.maximum.at(peak[row], samples.episode[rows], score[rows])
    levels = np.concatenate([[np.inf], np.unique(peak[np.isfinite(peak)])[::-1], [-np.inf]])
    return _above(peak[0, clean], levels), _above(peak[1, eventful], levels)


def announced_at(samples: Samples, score: np.ndarray, rate: float) -> float:
    """Share of first events announced ahead at the level that alarms at most `rate` of the clean.

    nan without clean episodes or without events.
    """
    alarmed, announced = trade_off(samples, score)
    within = alarmed <= rate
    return float(announced[within].max()) if within.any() else np.nan


def _above(peaks: np.ndarray, levels: np.ndarray) -> np.ndarray:
    if len(peaks) == 0:
        return np.full(len(levels), np.nan)
    ordered = np.sort(peaks)
    return 1 - np.searchsorted(ordered, levels, "right") / len(peaks)
