"""What thresholds per motion would have meant: alarms raised, events announced, false alarms."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.features import Samples


@dataclass(frozen=True)
class Alarms:
    """Alarms of one signed motion, or of any of them.

    Queries inside a running event neither raise nor miss one. Undefined figures are nan.
    """

    alarms: int  # queries at which the risk exceeds the threshold
    precision: float  # share of them whose horizon holds the event they announce
    events: int  # events that some query could have announced
    announced: float  # share of those that some query did
    lead_steps: float  # mean control steps from an event's first alarm to it
    clean_episodes: int
    false_alarms_per_clean_episode: float  # runs of consecutive alarms
    clean_episodes_alarmed: float  # share with at least one


def raise_alarms(risk: np.ndarray, threshold: np.ndarray, samples: Samples) -> np.ndarray:
    """bool [Q, M]: risk [Q, M] above threshold ([M], or [Q, M]) where there is something to say."""
    return (risk > threshold) & samples.valid[:, None]


def alarm_figures(raised: np.ndarray, samples: Samples, motions: np.ndarray) -> Alarms:
    """Counts the alarms `raised` [Q, M] of the `motions` (bool [M]) taken together.

    With several motions an alarm is right only where its own motion drives the event.
    """
    raised = raised & motions
    due = samples.risk & samples.valid[:, None] & motions
    right = raised & due
    at = np.asarray(raised.any(axis=1))
    lead, announced, events = _leads(right, due, samples)
    runs = np.bincount(samples.episode, run_starts(at, samples.episode), len(samples.episodes))
    per_clean = runs[samples.clean]
    return Alarms(
        alarms=int(at.sum()),
        precision=_mean(np.asarray(right.any(axis=1))[at]),
        events=events,
        announced=announced / events if events else np.nan,
        lead_steps=_mean(lead),
        clean_episodes=len(per_clean),
        false_alarms_per_clean_episode=_mean(per_clean),
        clean_episodes_alarmed=_mean(per_clean > 0),
    )


def run_starts(raised: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """bool [Q]: an alarm is raised here and was not at the same episode's query before."""
    before = np.concatenate([[False], raised[:-1]])
    return raised & ~(before & (np.diff(episode, prepend=-1) == 0))


def _leads(right: np.ndarray, due: np.ndarray, samples: Samples) -> tuple[np.ndarray, int, int]:
    """Lead of each announced event in steps, how many were announced, and how many there are."""
    query, motion = np.nonzero(due)
    step = samples.step[query]
    onset = step + samples.label.steps_to_event[query, motion].astype(int)
    event = np.stack([samples.episode[query], onset], axis=1)
    events, number = np.unique(event, axis=0, return_inverse=True)
    first = np.full(len(events), np.inf)
    said = right[query, motion]
    np.minimum.at(first, number.reshape(-1)[said], step[said])
    announced = np.isfinite(first)
    return events[announced, 1] - first[announced], int(announced.sum()), len(events)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
