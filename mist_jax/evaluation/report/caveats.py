"""What a reader must know before believing the numbers, derived from the results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mist_jax.action_units import METRES, RADIANS
from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.evaluation.arms.registry import arm_rows, row_of
from mist_jax.evaluation.metrics import METRICS
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.record.episode import UNSTEERED
from mist_jax.risk.judging.evidence import CLOCK
from mist_jax.risk.judging.verdict import CANNOT, MIN_CLUSTERS
from mist_jax.risk.judging.views import FIRST, WITHIN_TASK
from mist_jax.signed import named

FEW_SCENES = 20
SAME_DOSE = 0.2  # share by which the dose of a matched arm may differ


def caveats(results: Sequence[EpisodeResult], summary: Mapping[str, Any]) -> list[str]:
    """One sentence each, the weightiest first; `summary` is what `summarise` has so far."""
    return [
        *_determinism(summary),
        *_study(summary),
        *_amount(results, summary),
        *_crashes(summary),
        *_effects(summary),
        *_detector(summary),
        *_arms(summary),
        *_data(results, summary),
    ]


def _determinism(summary: Mapping[str, Any]) -> list[str]:
    differ = {
        arm: row["untouched_pairs"] - row["untouched_pairs_alike"]
        for arm, row in summary["arms"].items()
    }
    listed = ", ".join(f"{arm} {count}" for arm, count in differ.items() if count)
    if not listed:
        return []
    return [
        f"Episodes that an arm never touched ended otherwise than their unsteered twins ({listed}"
        "): something else than the arm differs within pairs, and the paired comparisons of this "
        "report do not hold."
    ]


def _study(summary: Mapping[str, Any]) -> list[str]:
    study = summary["study"]
    if study is None:
        if len(summary["arms"]) == 1:
            return []
        return ["No study was registered before: every comparison here is exploratory."]
    found = [
        f"Registered before ({study['digest']}, {study['written'][:10]}): the endpoints, in their "
        "order. Every other comparison is exploratory."
    ]
    for one in study["endpoints"]:
        rest = one["elsewhere"]
        if rest and one["verdict"] == "better" and rest["p"] >= study["level"]:
            found.append(
                f"Endpoint {one['words']} rests on task {rest['task_id']} "
                f"({rest['instruction']}): without it {rest['won']} pairs are won and "
                f"{rest['lost']} lost (exact p = {rest['p']:.2g}). It is shown for these scenes, "
                "not for tasks in general."
            )
    crashed = sum(one["crashed"] for one in study["endpoints"])
    if crashed:
        found.append("A pair of the endpoints that a crash took counts as lost by the arm.")
    if len(summary["run"]["code_versions"]) > 1:
        listed = ", ".join(summary["run"]["code_versions"])
        found.append(f"The study's episodes were run by several versions of the code ({listed}).")
    return found


def _amount(results: Sequence[EpisodeResult], summary: Mapping[str, Any]) -> list[str]:
    run, found = summary["run"], []
    if run["scenes"] < FEW_SCENES:
        found.append(
            f"Few episodes: {run['scenes']} scenes (task and initial state). Bootstrap intervals "
            f"of fewer than {FEW_SCENES} clusters are too narrow; treat all effects as anecdotes."
        )
    if len({result.scene for result in results}) < len({result.pair for result in results}):
        found.append(
            "Some scenes were run with several seeds; their episodes are resampled together."
        )
    counts = {arm: row["episodes"] for arm, row in summary["arms"].items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        found.append(
            f"The arms have different numbers of episodes ({listed}): the evaluation is not "
            "finished. Paired effects use common episodes only, the columns per arm do not."
        )
    control = row_of(UNSTEERED).control
    if UNSTEERED not in counts and control is not None:
        found.append(f"There is no unsteered arm ({UNSTEERED}): {control.absence}.")
    return found


def _crashes(summary: Mapping[str, Any]) -> list[str]:
    crashed = summary["run"]["outcomes"].get("crashed", 0)
    if not crashed:
        return []
    lost = sum(row["pairs_lost_to_crashes"] for row in summary["arms"].values())
    return [
        f"Crashed in the simulator: {crashed} of {summary['run']['episodes']} episodes. They are "
        f"left out of every number, and {lost} of the pairs with the unsteered arm with them; if "
        "crashes depend on what an arm does, that favours some arm."
    ]


def _effects(summary: Mapping[str, Any]) -> list[str]:
    rates = [e for e in summary["effects"] if e["p"] is not None and e["against"] == UNSTEERED]
    margin = 100 * summary["run"]["equivalence_margin"]
    undecided = [
        f"{e['arm']} ({METRICS[e['metric']].label})"
        for e in rates
        if not e["shown"] and not e["equivalent"]
    ]
    if not undecided:
        return []
    return [
        "Neither a difference from the unsteered policy nor equivalence to it (within "
        f"{margin:g} points) is shown for {', '.join(undecided)}. No difference seen is not no "
        "difference."
    ]


def _detector(summary: Mapping[str, Any]) -> list[str]:
    threshold, card, found = summary["run"]["threshold"], summary["detector"], []
    never = named(value is None for value in threshold) if summary["run"]["risk_head"] else []
    if len(never) == len(SIGNED_MOTIONS):
        found.append("The risk head never raises an alarm: arms that listen to it do nothing.")
    elif never:
        found.append(f"The risk head never raises an alarm in {', '.join(never)}.")
    if card is None:
        return found
    clock = card["head_minus"][FIRST][WITHIN_TASK][CLOCK]
    worse = [
        name
        for name in SIGNED_MOTIONS
        if clock[name]["value"] is not None and clock[name]["verdict"] == "not better"
    ]
    unscored = card["fallback_to_base_rate"]
    unclear = [
        name for name in SIGNED_MOTIONS if name not in unscored and clock[name]["verdict"] == CANNOT
    ]
    if worse:
        found.append(
            f"Within the tasks of these episodes the risk head does not beat the clock (the step "
            f"index) in {', '.join(worse)}."
        )
    if unclear:
        found.append(
            f"Whether the risk head beats the clock cannot be judged in {', '.join(unclear)}: "
            f"fewer than {MIN_CLUSTERS} scenes with a first event ahead, or without one."
        )
    if len(unscored) == len(SIGNED_MOTIONS):
        found.append(
            "No motion has enough first harmful events in the unsteered episodes for the risk head "
            "to be judged here."
        )
    elif unscored:
        found.append(f"Too few first events to judge the risk head in {', '.join(unscored)}.")
    return found


def _arms(summary: Mapping[str, Any]) -> list[str]:
    found, there = [], summary["arms"]
    for name, row in arm_rows().items():
        if name == UNSTEERED or name in there or row.control is None:
            continue
        lacking = sorted(arm for arm in there if name in row_of(arm).compared_with)
        if lacking:
            found.append(f"{', '.join(lacking)} without the arm {name}: {row.control.absence}.")
    found += [row_of(arm).caveat for arm in there if row_of(arm).caveat]
    found += _doses(there)
    idle = [
        arm
        for arm, row in there.items()
        if arm != UNSTEERED and row["metrics"]["acted"]["value"] == 0
    ]
    if idle:
        found.append(f"Never acted, so equal to the unsteered policy: {', '.join(idle)}.")
    return found


def _doses(there: Mapping[str, Any]) -> list[str]:
    """Arms that were to have another's dose and have not."""
    unlike = []
    for arm, row in there.items():
        other = row_of(arm).dose_of
        if other not in there:
            continue
        own, meant = (_dose(of["dose"]) for of in (row, there[other]))
        if own is not None and meant and abs(own / meant - 1) > SAME_DOSE:
            unlike.append(f"{arm} {own / meant:.2f} of that of {other}")
    if not unlike:
        return []
    return [
        f"Not of equal dose (realised change of the executed action): {', '.join(unlike)}. Such an "
        "arm is no matched control."
    ]


def _dose(dose: Mapping[str, Any]) -> float | None:
    """Realised translation and rotation as one length, in action units over a chunk."""
    if dose["realised_metres"] is None:
        return None
    return float(np.hypot(dose["realised_metres"] / METRES, dose["realised_radians"] / RADIANS))


def _data(results: Sequence[EpisodeResult], summary: Mapping[str, Any]) -> list[str]:
    run, found = summary["run"], []
    if run["assets"] == "lite":
        found.append(
            "Simulated on lite assets, stand-ins for LIBERO's meshes and textures: the physics is "
            "LIBERO's, success rates compare only with other runs on lite assets."
        )
    scenes = {result.scene: result.seen_in_training for result in results}
    found += _policy_scenes(results)
    seen = sum(bool(known) for known in scenes.values())
    if seen:
        found.append(
            f"{seen} of {len(scenes)} scenes were part of the risk head's training data: alarms "
            "there are better than on new ones. Choose other --initial_states to report."
        )
    found.append("Forces are the simulator's.")
    if summary["study"] is None:
        found.append(
            "Coefficients and thresholds must be chosen on other initial states than those "
            "reported; this file cannot tell whether they were."
        )
    return found


def _policy_scenes(results: Sequence[EpisodeResult]) -> list[str]:
    saw = {r.scene: r.setup.policy_saw(r.suite, r.initial_state) for r in results}
    if None in saw.values():
        return [
            "The policy's card does not say which scenes the policy was trained on: rates may be "
            "those of scenes that it knows."
        ]
    known = sum(bool(value) for value in saw.values())
    if not known:
        return []
    stated = ", ".join(results[0].setup.policy_scenes or ())
    return [
        f"{known} of {len(saw)} scenes are of the policy's own training ({stated}): it succeeds "
        "more often there than on new ones. Choose other --initial_states to report."
    ]
