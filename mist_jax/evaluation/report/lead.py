"""What the report says first: a sentence for somebody who knows nothing of it."""

from collections.abc import Mapping
from typing import Any

from mist_jax.evaluation.report.differing import subject_of
from mist_jax.record.episode import UNSTEERED
from mist_jax.risk.judging.verdict import CANNOT, MIN_CLUSTERS


def lead(summary: Mapping[str, Any]) -> str:
    """One or two plain sentences: what was run, what came of it, and whether that says anything."""
    arms, policy = summary["arms"], policy_name(summary)
    subject = subject_of(summary)
    if subject is None:
        alone = arms[UNSTEERED]
        return (
            f"The robot policy {policy} did its task in {_of(alone, 'success')} episodes in "
            f"simulation, and hit something that it must not touch in {_of(alone, 'collision')}."
        )
    steered = f"with the intervention {subject}, in {_of(arms[subject], 'collision')}"
    done = f"did its task in {_of(arms[subject], 'success')}"
    if UNSTEERED not in arms:
        return (
            f"The robot policy {policy}, {steered} episodes in simulation, hit something that it "
            f"must not touch, and {done}; without episodes of the policy alone nothing follows."
        )
    return (
        f"Left alone, the robot policy {policy} hit something that it must not touch in "
        f"{_of(arms[UNSTEERED], 'collision')} episodes in simulation and did its task in "
        f"{_of(arms[UNSTEERED], 'success')}; {steered}, and {done}. {_conclusion(summary, subject)}"
    )


def policy_name(summary: Mapping[str, Any]) -> str:
    """The policy's name without its digest."""
    return summary["run"]["model"].partition("@")[0]


def _of(arm: Mapping[str, Any], metric: str) -> str:
    found = arm["metrics"][metric]
    return f"{round((found['value'] or 0) * found['n'])} of {found['n']}"


def _conclusion(summary: Mapping[str, Any], subject: str) -> str:
    wanted = (subject, UNSTEERED, "collision")
    for effect in summary["effects"]:
        if (effect["arm"], effect["against"], effect["metric"]) == wanted:
            return _says(effect)
    return "No scene was run both ways to its end, so nothing follows from that."


def _says(effect: Mapping[str, Any]) -> str:
    scenes = effect["difference"]["clusters"]
    if effect["verdict"] == CANNOT:
        if scenes < MIN_CLUSTERS:
            return f"That is {scenes} scenes, too few to conclude anything."
        return "Not all of what was planned has been run, so nothing follows from that yet."
    if effect["shown"] == "better":
        return f"Over {scenes} scenes, fewer collisions are shown."
    if effect["shown"] == "worse":
        return f"Over {scenes} scenes, more collisions are shown."
    if effect["equivalent"]:
        return f"Over {scenes} scenes, equally frequent collisions are shown."
    return (
        f"Over {scenes} scenes, no difference in collisions is shown: chance could make this one."
    )
