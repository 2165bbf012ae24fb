"""The control that knows everything but the labels: episodes of a task exchange theirs."""

from dataclasses import fields, replace

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.labels import EventLabels


def permute_labels(samples: Samples, seed: int) -> Samples:
    """The same queries, each labelled as the query of the same place in another episode.

    An episode that is the only one of its task keeps its own labels.

    Whole episodes of a task exchange labels, so that their runs in time, the task and the clock
    keep what they have to do with them; only what is of the episode itself is lost. A query without
    a counterpart (the other episode was shorter) is no longer valid.
    """
    rng = np.random.default_rng(seed)
    count = len(samples.episodes)
    length = np.bincount(samples.episode, minlength=count)
    first = np.concatenate([[0], np.cumsum(length)[:-1]])
    tasks: dict[tuple[str, int], list[int]] = {}
    for index, facts in enumerate(samples.episodes):
        tasks.setdefault(facts.task, []).append(index)
    giver = np.arange(count)
    for members in tasks.values():
        # Along one random circle: nobody gives to itself, unless it is alone.
        order = rng.permutation(members)
        giver[order] = np.roll(order, 1)
    giver = giver[samples.episode]
    place = np.arange(len(samples)) - first[samples.episode]
    there = place < length[giver]
    row = first[giver] + np.minimum(place, length[giver] - 1)
    labels = {target: _taken(one, row, there) for target, one in samples.labels.items()}
    return replace(samples, labels=labels)


def _taken(labels: EventLabels, row: np.ndarray, there: np.ndarray) -> EventLabels:
    arrays = {
        one.name: getattr(labels, one.name)[row] for one in fields(labels) if one.name != "horizon"
    }
    arrays["open"] = arrays["open"] & there
    return replace(labels, **arrays)
