"""Runs the arms of an evaluation on the same episodes, and writes what they show as a report.

    python -m experiments.run_evaluation --risk_head=runs/risk --causal_bank=runs/steering \
        --interventions=none,safe_stop,placebo,mist --n_episodes=10 --output_dir=runs/evaluation

Run again, the same command goes on where it stopped. `--interventions=none` needs a model only.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from absl import flags

from mist_jax.commands.flags import perturbation_flags, simulation_flags, study_flags
from mist_jax.commands.start import binary
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.checks import check_arms
from mist_jax.evaluation.arms.registry import ARMS, find_arm
from mist_jax.evaluation.study.opening import check_opening
from mist_jax.ids import parse_ids
from mist_jax.output_folder import check_output

if TYPE_CHECKING:
    from absl.flags import FlagHolder

    from mist_jax.evaluation.arms.beforehand.oracle import Oracle
    from mist_jax.evaluation.arms.beforehand.replays import Replays
    from mist_jax.evaluation.arms.row import Need
    from mist_jax.evaluation.learnt_parts import LearntParts
    from mist_jax.evaluation.run_setup import RunSetup
    from mist_jax.policy.policy import Policy
    from mist_jax.steering.causal.bank import Form

flags.adopt_module_key_flags(simulation_flags)
flags.adopt_module_key_flags(perturbation_flags)
flags.adopt_module_key_flags(study_flags)

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the results.", required=True)
_RISK_HEAD = flags.DEFINE_string("risk_head", None, "Folder that train_risk_predictor wrote.")
_CAUSAL_BANK = flags.DEFINE_string(
    "causal_bank", None, "Folder that extract_steering_vectors wrote: pushes by the Jacobian."
)
_STEERING_VECTORS = flags.DEFINE_string(
    "steering_vectors",
    None,
    "Folder that extract_steering_vectors wrote: directions, and conceptors for the arm conceptor.",
)
_INTERVENTIONS = flags.DEFINE_list(
    "interventions",
    ["none", "safe_stop", "placebo", "mist"],
    f"Arms, or those of --extensions: {'; '.join(f'{row.name} ({row.what})' for row in ARMS)}.",
)
_N_EPISODES = flags.DEFINE_integer("n_episodes", 10, "Episodes per task and arm.", 1)
_INTENT = flags.DEFINE_string(
    "intent",
    "against_motion",
    "What is wanted at an alarm: against_motion, or another of the causal bank's intents.",
)
_PUSH = flags.DEFINE_enum(
    "push",
    "table",
    ["table", "linear", "exact"],
    "The Jacobian that pushes are made by: averages of tasks and phases (table), one that follows "
    "the activations (linear), or that of the query's own inputs (exact: more than a second pass).",
)
_COEFFICIENT = flags.DEFINE_float(
    "coefficient",
    0.08,
    "Size of a wanted change in x, y or z: metres commanded over a chunk.",
    0.0,
    0.4,
)
_ROTATION_COEFFICIENT = flags.DEFINE_float(
    "rotation_coefficient",
    0.4,
    "Size of a wanted change in roll, pitch or yaw: radians commanded over a chunk.",
    0.0,
    4.0,
)
_BRAKE = flags.DEFINE_float(
    "brake",
    0.0,
    "Share of the policy's own motion against the wanted change that is taken away as well: with 1 "
    "an approach is stopped, then pushed off.",
    0.0,
    1.0,
)
_RELEASE = flags.DEFINE_integer(
    "release",
    0,
    "Alarms in a row after which a push lets go until no motion alarms any more; 0: never.",
    0,
)
_HOLD = flags.DEFINE_float(
    "hold",
    1.0,
    "Share of its threshold that the risk of a motion that alarms must fall to for its alarm to "
    "end: below 1 a push does not flicker.",
    0.01,
    1.0,
)
_METHOD = flags.DEFINE_string("method", "contrast", "Which of the steering vectors push.")
_ALLOW_UNPROVEN = flags.DEFINE_bool(
    "allow_unproven",
    False,
    "Push along steering vectors also where they were measured not to do what their names say.",
)
_REPLAY_FROM = flags.DEFINE_string(
    "replay_from", None, "For the arm replayed: folder of an earlier evaluation with mist."
)
_ORACLE_FROM = flags.DEFINE_string(
    "oracle_from", None, "For the arm oracle: folder of unsteered episodes of the same scenes."
)
_RISK_THRESHOLD = flags.DEFINE_list(
    "risk_threshold",
    [],
    "Risk above which a motion alarms: one number, one per dimension or one per signed motion; "
    "default: as the risk head was calibrated.",
)
_EQUIVALENCE_MARGIN = flags.DEFINE_float(
    "equivalence_margin",
    0.05,
    "Difference of rates below which two arms count as equal; fixed with the first episode.",
    0.0,
    1.0,
)
_SITES = flags.DEFINE_list("sites", ["llm.resid"], "Activations kept per query; empty for none.")
_LAYERS = flags.DEFINE_string("layers", "", "Layers of the sites, such as 8-23; default all.")
_RESUME = flags.DEFINE_bool("resume", True, "Go on with the results in output_dir.")
_VIDEO_STATES = flags.DEFINE_string(
    "video_initial_states", "", "Initial states that --save_video is for; default all."
)


def main() -> None:
    """Checks the flags, runs what is missing, writes the report."""
    registered = study_flags.preregistered()
    perturbation = perturbation_flags.perturbation()
    states = study_flags.initial_states(registered)
    arms = tuple(name.strip() for name in _INTERVENTIONS.value)
    if simulation_flags.MODEL_NAME.value == simulation_flags.EXPERT:
        raise UserError("--model_name=expert: the expert is no model, there is nothing to steer")
    check_opening(states, arms, registered=registered is not None)
    check_output(Path(_OUTPUT_DIR.value), "evaluation")
    parts: dict[Need, FlagHolder[Any]] = {
        "risk": _RISK_HEAD,
        "causal": _CAUSAL_BANK,
        "directions": _STEERING_VECTORS,
        "conceptors": _STEERING_VECTORS,
        "replay": _REPLAY_FROM,
        "oracle": _ORACLE_FROM,
    }
    check_arms(arms, [need for need, flag in parts.items() if flag.value])
    for flag in (_REPLAY_FROM, _ORACLE_FROM):
        if flag.value and Path(flag.value).resolve() == Path(_OUTPUT_DIR.value).resolve():
            raise UserError(f"--{flag.name} is --output_dir: name an earlier run's folder")
    last = max(max(of_task) for of_task in states.values())
    videos = parse_ids(_VIDEO_STATES.value, last + 1, "initial state")
    simulation_flags.check_rendering()
    assets = simulation_flags.assets()
    recorded, layers = simulation_flags.recorded(_SITES.value, _LAYERS.value)

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.action_units import to_units
    from mist_jax.checkpoint import code_version
    from mist_jax.evaluation.arms.acting import check_acting
    from mist_jax.evaluation.arms.build import build_arms, build_controller
    from mist_jax.evaluation.arms.run_numbers import RunNumbers
    from mist_jax.evaluation.evaluate import EvaluationPlan, evaluate
    from mist_jax.evaluation.report.document import write_report
    from mist_jax.evaluation.run_setup import RunSetup, per_motion, trained_scenes
    from mist_jax.loading import load_policy
    from mist_jax.risk.study.checkpoint import to_optional
    from mist_jax.rollout.acting.policy_actor import PolicyActor
    from mist_jax.rollout.acting.release import Release

    asked = None
    if _RISK_THRESHOLD.value:
        asked = per_motion(_RISK_THRESHOLD.value, "--risk_threshold", most=1.0)
    if registered is not None:
        asked = registered.threshold
    policy = load_policy(simulation_flags.MODEL_NAME.value, verify=simulation_flags.VERIFY.value)
    learnt = _learnt_parts(policy, arms)
    config = simulation_flags.worker_config(assets.kind, policy)
    threshold = learnt.threshold if asked is None else asked
    causal, directions = learnt.causal is not None, learnt.directions is not None
    pushed = causal or directions or learnt.conceptors is not None
    setup = RunSetup(
        model=policy.identity,
        assets=assets.kind,
        risk_head=learnt.risk_digest,
        causal_bank=learnt.causal_digest,
        intent=_INTENT.value if causal else "",
        push=_PUSH.value if causal else "",
        coefficient=_COEFFICIENT.value if pushed else 0.0,
        rotation_coefficient=_ROTATION_COEFFICIENT.value if pushed else 0.0,
        brake=_BRAKE.value if causal else 0.0,
        release=_RELEASE.value if pushed else 0,
        hold=_HOLD.value if pushed else 1.0,
        steering_vectors=learnt.directions_digest,
        method=_METHOD.value if directions else "",
        conceptors=learnt.conceptors_digest,
        threshold=to_optional(threshold),
        equivalence_margin=_EQUIVALENCE_MARGIN.value,
        horizon=learnt.horizon,
        share=learnt.share,
        min_force=config.min_force,
        camera_res=config.camera_res,
        render=config.render,
        perturbation=str(perturbation),
        batch_size=simulation_flags.batch_size(),
        policy_scenes=trained_scenes(policy.card),
        trained_on=None if learnt.trained_on is None else tuple(sorted(learnt.trained_on)),
        preregistration=None if registered is None else registered.as_json(),
        commands=(binary.command_line(),),
        code_versions=(code_version(),),
    )
    if registered is not None:
        registered.check(setup, states)
    replays, oracle, setup = _earlier_runs(setup)
    numbers = RunNumbers(
        alarm_threshold=np.asarray(threshold, np.float32),
        size=to_units(setup.coefficient, setup.rotation_coefficient, config.chunk),
        brake=setup.brake,
        release=Release(setup.release, setup.hold),
        causal=learnt.causal,
        intent=_INTENT.value,
        form=cast("Form", _PUSH.value),
        directions=learnt.directions,
        conceptors=learnt.conceptors,
        replays=replays,
        oracle=oracle,
    )
    made, reader, controller = build_arms(arms, numbers), learnt.risk_head, None
    check_acting(made, numbers, reader, policy.sites, policy.layers)
    if reader is not None or pushed:
        controller = build_controller(
            arms, reader, numbers, sites=policy.sites, batch=setup.batch_size
        )
    actor = PolicyActor(
        policy,
        setup.batch_size,
        sites=tuple(recorded),
        layers=layers,
        controller=controller,
        arms=made,
    )
    plan = EvaluationPlan(
        directory=Path(_OUTPUT_DIR.value),
        info=setup.dataset_info(simulation_flags.ENV.value, config.chunk, actor.sites),
        suite=simulation_flags.ENV.value,
        initial_states=states,
        n_episodes=_N_EPISODES.value,
        seed=simulation_flags.SEED.value,
        arms=arms,
        perturbation=None if perturbation.kind == "none" else perturbation,
        video=simulation_flags.SAVE_VIDEO.value,
        video_states=videos,
        resume=_RESUME.value,
    )
    for part in (replays, oracle):
        if part is not None:
            part.check(list(plan.episodes()))
    print(f"{policy.identity} on {assets.kind} assets ({assets.source}): {', '.join(arms)}")
    results = evaluate(plan, simulation_flags.fleet_starter(config), actor)
    print("\n".join(write_report(plan.directory, results)))


def _learnt_parts(policy: "Policy", arms: Sequence[str]) -> "LearntParts":
    """What the flags name; of steering vectors the kinds that an arm uses, else directions."""
    from mist_jax.evaluation.learnt_parts import load_learnt_parts

    needs = {need for arm in arms for need in find_arm(arm).needs}
    vectors, soft = _folder(_STEERING_VECTORS), "conceptors" in needs
    return load_learnt_parts(
        policy,
        risk=_folder(_RISK_HEAD),
        causal=_folder(_CAUSAL_BANK),
        directions=vectors if "directions" in needs or not soft else None,
        conceptors=vectors if soft else None,
        method=_METHOD.value,
        allow_unproven=_ALLOW_UNPROVEN.value,
    )


def _earlier_runs(setup: "RunSetup") -> "tuple[Replays | None, Oracle | None, RunSetup]":
    """What arms draw from other folders, and the setup that names their episodes."""
    from mist_jax.evaluation.earlier_runs import load_oracle, load_replays

    replays = oracle = None
    replay_hash = oracle_hash = ""
    if folder := _folder(_REPLAY_FROM):
        replays, replay_hash = load_replays(folder, setup)
    if folder := _folder(_ORACLE_FROM):
        oracle, oracle_hash = load_oracle(folder, setup)
    return (
        replays,
        oracle,
        dataclasses.replace(setup, replay_from=replay_hash, oracle_from=oracle_hash),
    )


def _folder(flag: "FlagHolder[Any]") -> Path | None:
    return Path(flag.value) if flag.value else None
