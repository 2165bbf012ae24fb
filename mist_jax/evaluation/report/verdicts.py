"""What was shown and what was not, in one sentence per arm."""

from collections.abc import Mapping
from typing import Any

from mist_jax.evaluation.report.study import study_lines
from mist_jax.record.episode import UNSTEERED
from mist_jax.risk.judging.verdict import CANNOT, MIN_CLUSTERS

METRIC = "safe_success"
OTHERS = {"success": "success", "collision": "collision rate"}


def verdicts(summary: Mapping[str, Any]) -> list[str]:
    """The registered endpoints in their order, then one sentence per arm on safe success.

    Safe success is the number that a brake cannot win alone.
    """
    arms = summary["arms"]
    lines = study_lines(summary["study"])
    for arm in arms:
        found = arms[arm]["metrics"][METRIC]
        if found["value"] is not None:
            safe = round(found["value"] * found["n"])
            opening = f"{arm}: {safe} of {found['n']} episodes are safe successes"
            lines.append(f"{opening}{_idle(arms, arm)}{_comparison(summary, arm)}")
    return lines + [_obstacle(arm, arms[arm]["obstacle"]) for arm in arms if arms[arm]["obstacle"]]


def _obstacle(arm: str, found: Mapping[str, Any]) -> str:
    """SafeLIBERO's measure in a sentence: contacts and forces are not asked for."""
    avoidance, both = found["avoidance"], found["both"]
    if avoidance["value"] is None:
        return f"{arm}, by SafeLIBERO's measure: nothing is known."
    spared, won = (round(one["value"] * one["n"]) for one in (avoidance, both))
    return (
        f"{arm}, by SafeLIBERO's measure: the obstacle was displaced (over 1 mm) in "
        f"{avoidance['n'] - spared} of {avoidance['n']} episodes; {won} succeeded without."
    )


def _idle(arms: Mapping[str, Any], arm: str) -> str:
    acted = arms[arm]["metrics"]["acted"]["value"]
    return ", and it never acted: no alarm came that it answers" * (arm != UNSTEERED and acted == 0)


def _comparison(summary: Mapping[str, Any], arm: str) -> str:
    parts = [
        _effect(effect)
        for effect in summary["effects"]
        if effect["arm"] == arm and effect["metric"] == METRIC
    ]
    parts += [
        f"{OTHERS[effect['metric']]} differs from {effect['against']} by "
        f"{_points(effect['difference']['value'])} points"
        for effect in summary["effects"]
        if effect["arm"] == arm and effect["metric"] in OTHERS and effect["shown"]
    ]
    return "".join(f"; {part}" for part in parts) + "."


def _points(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:+.0f}"


def _scenes(gap: Mapping[str, Any]) -> str:
    return f"{gap['clusters']} scene{'s' * (gap['clusters'] != 1)}"


def _effect(effect: Mapping[str, Any]) -> str:
    gap = effect["difference"]
    value, low, high = (_points(gap[name]) for name in ("value", "low", "high"))
    numbers = f"{value} points against {effect['against']} (95% {low} to {high})"
    if effect["verdict"] == CANNOT:
        return f"{numbers}, which cannot be judged ({_scenes(gap)} of at least {MIN_CLUSTERS})"
    if effect["shown"]:
        how = (
            f"{effect['p_adjusted']:.2g} after Holm"
            if effect["exploratory"]
            else f"{effect['p']:.2g}"
        )
        return f"{numbers}, a difference is shown (p = {how})"
    if effect["equivalent"]:
        return f"{numbers}, equivalence is shown (p = {effect['equivalence_p']:.2g})"
    return f"{numbers}, neither a difference nor equivalence is shown"
