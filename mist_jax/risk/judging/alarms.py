"""What a threshold would have meant: alarms raised, contacts announced, time left, false alarms."""

from dataclasses import dataclass

import numpy as np

from mist_jax.risk.features import Samples


@dataclass(frozen=True)
class Alarms:
    """Alarms of one dimension, or of any of them.

    Queries inside a running harmful contact neither raise nor miss one. Undefined figures are nan.
    """

    alarms: int  # queries at which the risk exceeds the threshold
    precision: float  # share of them whose horizon holds the contact they announce
    contacts: int  # harmful contacts that some query could have announced
    announced: float  # share of those that some query did
    lead_steps: float  # mean control steps from a contact's first alarm to it
    clean_episodes: int
    false_alarms_per_clean_episode: float  # runs of consecutive alarms
    clean_episodes_alarmed: float  # share with at least one


def raise_alarms(risk: np.ndarray, threshold: np.ndarray, samples: Samples) -> np.ndarray:
    """bool [Q, A]: risk [Q, A] above threshold ([A], or [Q, A]) where there is something to say."""
    return (risk > threshold) & samples.valid[:, None]


def alarm_figures(raised: np.ndarray, samples: Samples, dimensions: np.ndarray) -> Alarms:
    """Counts the alarms `raised` [Q, A] of the `dimensions` (bool [A]) taken together.

    With several dimensions an alarm is right only where its own dimension drives the contact.
    """
    raised = raised & dimensions
    due = samples.risk & samples.valid[:, None] & dimensions
    right = raised & due
    at = np.asarray(raised.any(axis=1))
    lead, announced, contacts = _leads(right, due, samples)
    per_clean = np.asarray(
        [_runs(at[samples.episode == e]) for e in np.flatnonzero(samples.clean)], float
    )
    return Alarms(
        alarms=int(at.sum()),
        precision=_mean(np.asarray(right.any(axis=1))[at]),
        contacts=contacts,
        announced=announced / contacts if contacts else np.nan,
        lead_steps=_mean(lead),
        clean_episodes=len(per_clean),
        false_alarms_per_clean_episode=_mean(per_clean),
        clean_episodes_alarmed=_mean(per_clean > 0),
    )


def _leads(right: np.ndarray, due: np.ndarray, samples: Samples) -> tuple[np.ndarray, int, int]:
    """Lead of each announced contact in steps, how many were announced, and how many there are."""
    contacts: set[tuple[int, int]] = set()
    first: dict[tuple[int, int], int] = {}
    for query, dimension in np.argwhere(due):
        step = int(samples.step[query])
        contact = int(samples.episode[query]), step + int(samples.steps_to_onset[query, dimension])
        contacts.add(contact)
        if right[query, dimension]:
            first[contact] = min(first.get(contact, step), step)
    lead = np.asarray([onset - first[episode, onset] for episode, onset in first], float)
    return lead, len(first), len(contacts)


def _runs(raised: np.ndarray) -> int:
    return int(np.sum(raised & ~np.concatenate([[False], raised[:-1]])))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
