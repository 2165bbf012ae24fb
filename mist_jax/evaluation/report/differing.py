"""The arm that a report is about, and the scenes that end otherwise with it than without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from mist_jax.evaluation.arms.causal import MIST_ARM
from mist_jax.evaluation.arms.registry import row_of
from mist_jax.evaluation.metrics import pairs
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.record.episode import UNSTEERED


@dataclass(frozen=True)
class Differing:
    """Pairs of one arm and the unsteered policy that ended otherwise.

    `shown` (unsteered, arm) alternates between pairs that the arm won and lost, so that what is
    picked favours neither; `won` and `lost` count all, on safe success and, where that is the same,
    on harmful contacts.
    """

    arm: str
    won: int
    lost: int
    pairs: int
    shown: tuple[tuple[EpisodeResult, EpisodeResult], ...]


def subject_of(summary: Mapping[str, Any]) -> str | None:
    """The arm that the report is about: the registered one, else `mist`, else the most compared.

    None where the policy was not steered.
    """
    there = [arm for arm in summary["arms"] if arm != UNSTEERED]
    named = [one["endpoint"]["arm"] for one in (summary["study"] or {}).get("endpoints", ())]
    for arm in (*named, MIST_ARM.name):
        if arm in there:
            return arm
    return max(there, key=lambda arm: len(row_of(arm).compared_with), default=None)


def differing(results: Sequence[EpisodeResult], arm: str, most: int) -> Differing:
    """At most `most` of the pairs in which `arm` and the unsteered policy ended otherwise."""
    matched, _ = pairs(results, arm, UNSTEERED)
    won = [pair for pair in matched if _score(pair[1]) > _score(pair[0])]
    lost = [pair for pair in matched if _score(pair[1]) < _score(pair[0])]
    turns = chain.from_iterable(zip_longest(won, lost))
    shown = [pair for pair in turns if pair is not None][:most]
    return Differing(arm, len(won), len(lost), len(matched), tuple(shown))


def _score(result: EpisodeResult) -> tuple[bool, bool]:
    return result.safe_success, not result.collided
