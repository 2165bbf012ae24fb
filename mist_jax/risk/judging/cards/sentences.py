"""What a scorecard comes to, in a few sentences: whom the subject beats, and whom it does not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mist_jax.risk.judging.evidence import AROUND, CLOCK, TASK_CLOCK
from mist_jax.risk.judging.groups import groups_of
from mist_jax.risk.judging.verdict import MIN_CLUSTERS, by_verdict
from mist_jax.risk.judging.views import ALL, ANY_EVENT, FIRST, MEAN, UNPUSHED, WITHIN_TASK

AT_ONCE = 3  # as many of a group, if they are all of it, are named by the group
NAMED_FIRST = (CLOCK, TASK_CLOCK, AROUND)  # what a detector has to beat to have seen anything
VIEWS = {
    FIRST: "First events",
    UNPUSHED: "First events in which no perturbation had a hand",
    ALL: "All events",
}


def sentences(card: Mapping[str, Any], usable: np.ndarray) -> list[str]:
    """One sentence per view on the mean within tasks, and on first events three more.

    Those are on any event, on what is announced ahead, and on single motions against the clock.
    `usable` is bool [M].
    """
    if not usable.any():
        return ["No motion has enough harmful events: nothing was learnt, nothing is claimed."]
    subject, minus = card["subject"], card["head_minus"]
    first = minus[FIRST][WITHIN_TASK]
    if not first:
        return []
    lines = []
    for view, words in views_told(card).items():
        told = card["motions"][view]
        over = [name for name, one in told.items() if one["in_mean"]]
        if not over:
            lines.append(
                f"{words}, within tasks: the mean cannot be judged, for no motion has "
                f"{MIN_CLUSTERS} scenes with an event and as many without."
            )
            continue
        gaps = {other: rows[MEAN] for other, rows in minus[view][WITHIN_TASK].items()}
        lines.append(f"{words}, within tasks, mean over {', '.join(over)}: {_said(card, gaps)}.")
    either = {other: rows[ANY_EVENT] for other, rows in first.items()}
    lines.append(f"Any first event, within tasks: {_said(card, either)}.")
    announced = card["head_minus_announced"]
    lines.append(
        f"First events announced ahead, by {card['announced_by']} at {card['alarm_rate']:.0%}: "
        f"{_said(card, announced)}."
    )
    if CLOCK in first:
        lines.append(_motions(subject, first[CLOCK], card))
    return lines


def views_told(card: Mapping[str, Any]) -> dict[str, str]:
    """The views and their names, without that of unpushed events where nothing was pushed."""
    minus = card.get("head_minus", {})
    same = minus.get(UNPUSHED) == minus.get(FIRST)
    return {view: words for view, words in VIEWS.items() if view != UNPUSHED or not same}


def _said(card: Mapping[str, Any], gaps: Mapping[str, Mapping[str, Any]]) -> str:
    """Whom the subject beats, whom it does not and of whom that is open."""
    better, worse, unclear = (_names(card, names) for names in by_verdict(gaps))
    parts = [f"beats {better}"] if better else []
    parts += [f"does NOT beat {worse}"] if worse else []
    parts += [f"cannot be judged against {unclear}"] if unclear else []
    return f"the {card['subject']} {'; '.join(parts)}"


def _names(card: Mapping[str, Any], names: Sequence[str]) -> str:
    """Detectors as they are listed: `NAMED_FIRST` before others, whole groups in one word."""
    said = [name for name in NAMED_FIRST if name in names]
    for group, members in groups_of(card).items():
        rest = [name for name in members if name not in (*NAMED_FIRST, card["subject"])]
        found = [name for name in rest if name in names]
        if len(found) < AT_ONCE or len(found) < len(rest):
            said += found
        else:
            said.append(
                f"{'all' if len(rest) == len(members) else 'the other'} {len(rest)} {group}"
            )
    return ", ".join(said)


def _motions(subject: str, gaps: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """Motion by motion against the clock; those that nothing was learnt of are not told."""
    unlearnt = card["fallback_to_base_rate"]
    learnt = {name: gaps[name] for name in card["motions"][FIRST] if name not in unlearnt}
    better, worse, unclear = by_verdict(learnt)
    parts = [f"beats it in {', '.join(better)}"] if better else []
    parts += [f"does NOT beat it in {', '.join(worse)}"] if worse else []
    parts += [f"cannot be judged in {', '.join(unclear)}"] if unclear else []
    return f"Motion by motion against the {CLOCK}: the {subject} {'; '.join(parts)}."
