"""The table of some of the episodes."""

from dataclasses import fields, replace

import numpy as np

from mist_jax.risk.features import Samples, StoredSite
from mist_jax.risk.labels import EventLabels


def of_episodes(samples: Samples, keep: np.ndarray, *, activations: bool = True) -> Samples:
    """The queries of the episodes `keep` (bool [episodes]), copied; indices begin at 0 again.

    Without `activations` the sites are left out: what judges need is small.
    """
    rows = keep[samples.episode]
    number = np.cumsum(keep) - 1
    columns = {
        one.name: getattr(samples, one.name)[rows]
        for one in fields(samples)
        if isinstance(getattr(samples, one.name), np.ndarray)
    }
    columns["episode"] = number[columns["episode"]].astype(np.int32)
    sites = samples.sites.items() if activations else ()
    return replace(
        samples,
        sites={name: StoredSite(site.layers, site.values[rows]) for name, site in sites},
        labels={target: _of_rows(labels, rows) for target, labels in samples.labels.items()},
        **columns,
        episodes=tuple(facts for facts, kept in zip(samples.episodes, keep, strict=True) if kept),
    )


def _of_rows(labels: EventLabels, rows: np.ndarray) -> EventLabels:
    arrays = {
        one.name: getattr(labels, one.name)[rows]
        for one in fields(labels)
        if isinstance(getattr(labels, one.name), np.ndarray)
    }
    return replace(labels, **arrays)
