"""Scorecards as Markdown: one table to read first, by groups of detectors, then the details."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mist_jax.risk.judging.cards.sentences import views_told
from mist_jax.risk.judging.evidence import AROUND, CLOCK, TASK_CLOCK
from mist_jax.risk.judging.groups import groups_of
from mist_jax.risk.judging.views import ANY_EVENT, FIRST, MEAN, WITHIN_FOLD, WITHIN_TASK

ABSENT = "-"
NEVER = "never"  # no query of any episode crosses the threshold
HOW = {WITHIN_TASK: "within tasks", WITHIN_FOLD: "across tasks"}
MARK = {"better": "", "not better": " =", "cannot be judged": " ?"}
NOTE = (
    "First harmful events of an episode, out of sample; within tasks: queries are compared within "
    "one task and fold; across: within one fold. In brackets 95% cluster bootstrap intervals over "
    "scenes. `=`: the {subject} is not better than this detector; `?`: that cannot be judged; no "
    "mark: it is better. Ahead: {ahead} control steps or more before the event, by {rule}"
    ", whose threshold on other scenes lets {rate:.0%} of clean episodes be alarmed; `never`: no "
    "query crosses it."
)


def markdown(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of several studies, by what each is called ("seen scenes", "unseen tasks").

    First what all of them come to, then the details of each.
    """
    parts = []
    for title, card in cards.items():
        parts += [f"## {_capital(title)}", _counts(card), _headline(card), *_verdict(card)]
    for title, card in cards.items():
        parts += [f"## Details: {title}", _motions(card), *_rankings(card), _alarms(card)]
        parts += [_rules(card), _coverage(card), _failures(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(card: Mapping[str, Any]) -> str:
    """First events: both ways to compare, and what is announced at which price."""
    head = [f"{what}, {how}" for how in HOW.values() for what in ("mean AUROC", "any event")]
    head += ["announced ahead", "clean episodes alarmed"]

    def row(name: str, detector: Mapping[str, Any]) -> list[str]:
        figures = [
            shown(detector[FIRST][what][how]) + _mark(_gaps(card, FIRST, how, name).get(what))
            for how in HOW
            for what in (MEAN, ANY_EVENT)
        ]
        more = card.get("head_minus_announced", {}).get(name)
        ahead = _alarm(card, name, "announced_ahead")
        return [
            *figures,
            ahead + (_mark(more) if ahead != ABSENT else ""),
            _alarm(card, name, "clean_episodes_alarmed"),
        ]

    note = NOTE.format(
        subject=card["subject"], ahead=card["ahead_steps"], rate=card["alarm_rate"],
        rule=card["announced_by"],
    )  # fmt: skip
    over = [name for name, told in card["motions"][FIRST].items() if told["in_mean"]]
    mean = f"The mean is over {', '.join(over)}." if over else "No motion can be in the mean."
    return f"{note} {mean}\n\n{_by_group(card, head, row)}"


def _verdict(card: Mapping[str, Any]) -> list[str]:
    """The card's sentences as a list."""
    return ["\n".join(f"- {line}" for line in card["verdict"])] if card.get("verdict") else []


def _counts(card: Mapping[str, Any]) -> str:
    return (
        f"{card['episodes']} episodes ({card['clean_episodes']} clean, {card['first_events']} with "
        f"a first event) of {card['scenes']} scenes and {card['tasks']} tasks, {card['queries']} "
        f"queries; an event within {card['horizon_steps']} control steps. Trained on the target "
        f"`{card['target']}`."
    )


def _motions(card: Mapping[str, Any]) -> str:
    """What each motion's figures rest on, and the subject beside what sees nothing inside."""
    subject = card["subject"]
    beside = [name for name in (CLOCK, TASK_CLOCK, AROUND) if name in card["detectors"]]
    names = [name for name in (subject, *beside) if name in card["detectors"]]
    head = ["motion", "positive queries", "scenes", "in the mean", *dict.fromkeys(names)]
    rows = []
    for motion, told in card["motions"][FIRST].items():
        row = [motion, str(told["positives"]), str(told["scenes"])]
        row.append("yes" if told["in_mean"] else "no")
        for name in dict.fromkeys(names):
            value = card["detectors"][name][FIRST]["motions"][motion][WITHIN_TASK]
            gap = _gaps(card, FIRST, WITHIN_TASK, name).get(motion)
            row.append(shown(value) + (_mark(gap) if value["value"] is not None else ""))
        rows.append(row)
    title = (
        "**Signed motions**, first events within tasks. Scenes: those with a positive (or with a "
        "negative, if fewer) that are compared with another query"
    )
    return f"{title}\n\n{_grid(head, rows)}"


def _rankings(card: Mapping[str, Any]) -> list[str]:
    """One table per view: both ways to compare, and what the subject has more."""
    tables = []
    for view, title in views_told(card).items():
        head = [f"{what}, {how}" for how in HOW.values() for what in ("mean AUROC", "any event")]
        head.append(f"{card['subject']} minus it: mean, within tasks")
        if view == FIRST:
            head = head[-1:]  # the others are in the first table

        def row(name: str, detector: Mapping[str, Any], view=view) -> list[str]:
            figures = [
                shown(detector[view][what][how]) for how in HOW for what in (MEAN, ANY_EVENT)
            ]
            gap = _gaps(card, view, WITHIN_TASK, name).get(MEAN)
            minus = ABSENT if gap is None else f"{shown(gap)} {gap['verdict']}"
            return [*(figures if view != FIRST else []), minus]

        over = [name for name, told in card["motions"][view].items() if told["in_mean"]]
        mean = f"mean over {', '.join(over)}" if over else "no motion can be in the mean"
        tables.append(f"**{title}**, {mean}\n\n{_by_group(card, head, row)}")
    return tables


def _alarms(card: Mapping[str, Any]) -> str:
    """Alarms of every detector, and how well its probabilities are calibrated."""
    head = [
        "within the horizon", "lead (steps)", "false alarms per clean episode", "ECE", "Brier",
    ]  # fmt: skip

    def row(name: str, detector: Mapping[str, Any]) -> list[str]:
        error = detector["calibration"].get(ANY_EVENT, {})
        return [
            _alarm(card, name, "announced_within_horizon"),
            shown(detector["alarms"][card["announced_by"]]["lead_steps"], 1),
            _alarm(card, name, "false_alarms_per_clean_episode", 2),
            shown(error.get("ece")),
            shown(error.get("brier")),
        ]

    title = (
        f"**Alarms by {card['announced_by']}**, nominal {card['alarm_rate']:.0%} of clean episodes;"
        " within the horizon: announced ahead and not earlier than that. ECE and Brier score: any "
        "event."
    )
    return f"{title}\n\n{_by_group(card, head, row)}"


def _rules(card: Mapping[str, Any]) -> str:
    """All alarm rules, of the subject."""
    subject = card["subject"]
    detector = card["detectors"].get(subject)
    if detector is None:
        return ""
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


def _failures(card: Mapping[str, Any]) -> str:
    """Failure detectors by their own question, and by that of contacts."""
    told = card.get("failures")
    if not told:
        return ""
    rows = [
        [name, shown(one["failure"]), shown(one["contact"])]
        for name, one in told["detectors"].items()
    ]
    title = (
        f"**Detectors trained on failures**, {told['failures']} failures of {told['episodes']} "
        f"episodes, across tasks; any event: of the {card['subject']}"
    )
    head = ["detector", "failure, cut at each task's shortest episode", "an event ahead"]
    return f"{title}\n\n{_grid(head, rows)}"


def _by_group(
    card: Mapping[str, Any],
    head: Sequence[str],
    row: Callable[[str, Mapping[str, Any]], list[str]],
) -> str:
    """A line per detector, under the name of its group."""
    rows = []
    for group, names in groups_of(card).items():
        rows.append([f"**{group}**", *[""] * len(head)])
        rows += [[name, *row(name, card["detectors"][name])] for name in names]
    return _grid(["detector", *head], rows)


def _alarm(card: Mapping[str, Any], name: str, figure: str, digits: int = 3) -> str:
    """A figure of one detector's alarms, or that there never is one."""
    detector, rule = card["detectors"][name], card["announced_by"]
    value = detector["alarms"][rule][figure]
    if value["value"] is not None and detector["alarms_raised"][rule] == 0:
        return NEVER
    return shown(value, digits)


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


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
