"""Scorecards as Markdown: all detectors side by side, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from mist_jax.risk.calibration.registry import SPLIT_CONFORMAL
from mist_jax.risk.judging.views import (
    ALL,
    ANY_EVENT,
    FIRST,
    MEAN,
    UNPUSHED,
    WITHIN_FOLD,
    WITHIN_TASK,
)

ABSENT = "-"
VIEWS = {
    FIRST: "First events",
    UNPUSHED: "First events in which no perturbation had a hand",
    ALL: "All events",
}
HOW = {WITHIN_TASK: "within tasks", WITHIN_FOLD: "across tasks"}
MARK = {"better": "", "not better": " =", "cannot be judged": " ?"}


def markdown(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of several studies, by what each is called ("seen scenes", "unseen tasks")."""
    parts = [_headline(cards)]
    for title, card in cards.items():
        parts += [f"## {title.capitalize()}", _counts(card), *_rankings(card)]
        parts += [_alarms(card), _rules(card), _coverage(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """First events within tasks, every detector, the studies side by side."""
    names = list(dict.fromkeys(name for card in cards.values() for name in card["detectors"]))
    head = ["detector"]
    for title in cards:
        head += [f"{title}: mean AUROC", "any event", "announced ahead"]
    rows = []
    for name in names:
        row = [name]
        for card in cards.values():
            detector = card["detectors"].get(name)
            if detector is None:
                row += [ABSENT] * 3
                continue
            view, verdicts = detector[FIRST], _gaps(card, FIRST, WITHIN_TASK, name)
            alarms = detector["alarms"][SPLIT_CONFORMAL.name]
            row += [
                shown(view[MEAN][WITHIN_TASK]) + _mark(verdicts.get(MEAN)),
                shown(view[ANY_EVENT][WITHIN_TASK]) + _mark(verdicts.get(ANY_EVENT)),
                shown(alarms["announced_ahead"]),
            ]
        rows.append(row)
    note = (
        "First harmful events of an episode; queries are compared within one task and fold. In "
        "brackets 95% cluster bootstrap intervals over scenes. `=`: the head is not better than "
        "this detector; `?`: that cannot be judged; no mark: it is better."
    )
    return f"{note}\n\n{_grid(head, rows)}"


def _counts(card: Mapping[str, Any]) -> str:
    return (
        f"{card['episodes']} episodes ({card['clean_episodes']} clean, {card['first_events']} with "
        f"a first event) of {card['scenes']} scenes and {card['tasks']} tasks, {card['queries']} "
        f"queries; an event within {card['horizon_steps']} control steps. Trained on the target "
        f"`{card['target']}`."
    )


def _rankings(card: Mapping[str, Any]) -> list[str]:
    """One table per view: both ways to compare, and what the head has more."""
    tables = []
    for view, title in VIEWS.items():
        head = ["detector"]
        for how in HOW.values():
            head += [f"mean AUROC, {how}", f"any event, {how}"]
        head.append("head minus it: mean, within tasks")
        rows = []
        for name, detector in card["detectors"].items():
            row = [name]
            for how in HOW:
                row += [shown(detector[view][MEAN][how]), shown(detector[view][ANY_EVENT][how])]
            gap = _gaps(card, view, WITHIN_TASK, name).get(MEAN)
            rows.append([*row, ABSENT if gap is None else f"{shown(gap)} {gap['verdict']}"])
        tables.append(f"**{title}**\n\n{_grid(head, rows)}")
    return tables


def _alarms(card: Mapping[str, Any]) -> str:
    """Split conformal alarms of every detector, and how well its probabilities are calibrated."""
    head = [
        "detector", "clean episodes alarmed", "first events announced ahead", "within the horizon",
        "lead (steps)", "false alarms per clean episode",
        f"announced where {card['alarm_rate']:.0%} of these clean episodes are alarmed",
        "ECE", "Brier",
    ]  # fmt: skip
    rows = []
    for name, detector in card["detectors"].items():
        told = detector["alarms"][SPLIT_CONFORMAL.name]
        best = detector["announced_at_rate"]
        error = detector["calibration"].get(ANY_EVENT, {})
        rows.append([
            name,
            shown(told["clean_episodes_alarmed"]),
            shown(told["announced_ahead"]),
            shown(told["announced_within_horizon"]),
            shown(told["lead_steps"], 1),
            shown(told["false_alarms_per_clean_episode"], 2),
            ABSENT if best is None else number(best),
            shown(error.get("ece")),
            shown(error.get("brier")),
        ])  # fmt: skip
    title = (
        f"**Alarms by {SPLIT_CONFORMAL.name}**, nominal {card['alarm_rate']:.0%} of clean episodes;"
        f" ahead: {card['ahead_steps']} control steps or more. ECE and Brier score: any event."
    )
    return f"{title}\n\n{_grid(head, rows)}"


def _rules(card: Mapping[str, Any]) -> str:
    """All alarm rules, of the subject, which is the first detector."""
    subject, detector = next(iter(card["detectors"].items()))
    head = ["rule", "clean episodes alarmed", "first events announced ahead", "lead (steps)"]
    rows = [
        [rule, shown(told["clean_episodes_alarmed"]), shown(told["announced_ahead"]),
         shown(told["lead_steps"], 1)]
        for rule, told in detector["alarms"].items()
    ]  # fmt: skip
    return f"**Alarm rules** on the risk of the {subject}\n\n{_grid(head, rows)}"


def _coverage(card: Mapping[str, Any]) -> str:
    told = card.get("coverage")
    if not told:
        return ""
    rates = [entry["nominal"] for entry in next(iter(told.values()))]
    rows = [[rule, *(shown(entry["alarmed"]) for entry in each)] for rule, each in told.items()]
    head = ["rule", *(f"nominal {rate:.0%}" for rate in rates)]
    return f"**Share of clean episodes alarmed**, nominal and achieved\n\n{_grid(head, rows)}"


def _gaps(card: Mapping[str, Any], view: str, how: str, name: str) -> Mapping[str, Any]:
    return card.get("head_minus", {}).get(view, {}).get(how, {}).get(name, {})


def _mark(gap: Mapping[str, Any] | None) -> str:
    return "" if gap is None else MARK[gap["verdict"]]


def shown(value: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A described figure as ".812 [.790, .833]"."""
    if value is None or value["value"] is None:
        return ABSENT
    bounds = value.get("interval")
    between = f" [{', '.join(number(bound, digits) for bound in bounds)}]" if bounds else ""
    return f"{number(value['value'], digits)}{between}"


def number(value: float, digits: int = 3) -> str:
    """Without the zero before the point."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
