"""Runs the arms of an evaluation on the same episodes, and writes what they show as a report.

    python -m experiments.run_evaluation --risk_head=runs/risk --causal_bank=runs/steering \
        --interventions=none,safe_stop,placebo,mist --n_episodes=10 --output_dir=runs/evaluation

Run again, the same command goes on where it stopped. `--interventions=none` needs a model only.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import flags

from mist_jax.commands.flags import (
    arm_flags,
    perturbation_flags,
    policy_flags,
    report_flags,
    simulation_flags,
    study_flags,
)
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.checks import check_arms
from mist_jax.evaluation.arms.registry import ARMS
from mist_jax.evaluation.study.opening import check_opening
from mist_jax.ids import parse_ids
from mist_jax.output_folder import check_output

if TYPE_CHECKING:
    from absl.flags import FlagHolder

    from mist_jax.evaluation.arms.beforehand.oracle import Oracle
    from mist_jax.evaluation.arms.beforehand.replays import Replays
    from mist_jax.evaluation.arms.row import Need
    from mist_jax.evaluation.run_setup import RunSetup

flags.adopt_module_key_flags(simulation_flags)
flags.adopt_module_key_flags(perturbation_flags)
flags.adopt_module_key_flags(study_flags)
flags.adopt_module_key_flags(arm_flags)
flags.adopt_module_key_flags(report_flags)

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the results.", required=True)
_INTERVENTIONS = flags.DEFINE_list(
    "interventions",
    ["none", "safe_stop", "placebo", "mist"],
    f"Arms, or those of --extensions: {'; '.join(f'{row.name} ({row.what})' for row in ARMS)}.",
)
_N_EPISODES = flags.DEFINE_integer("n_episodes", 10, "Episodes per task and arm.", 1)
_REPLAY_FROM = flags.DEFINE_string(
    "replay_from", None, "For the arm replayed: folder of an earlier evaluation with mist."
)
_ORACLE_FROM = flags.DEFINE_string(
    "oracle_from", None, "For the arm oracle: folder of unsteered episodes of the same scenes."
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
    if policy_flags.MODEL_NAME.value == simulation_flags.EXPERT:
        raise UserError("--model_name=expert: the expert is no model, there is nothing to steer")
    check_opening(states, arms, registered=registered is not None)
    check_output(folder_of(_OUTPUT_DIR.value), "evaluation")
    parts: dict[Need, FlagHolder[Any]] = {
        **arm_flags.parts(),
        "replay": _REPLAY_FROM,
        "oracle": _ORACLE_FROM,
    }
    check_arms(arms, [need for need, flag in parts.items() if flag.value])
    for flag in (_REPLAY_FROM, _ORACLE_FROM):
        if flag.value and folder_of(flag.value).resolve() == folder_of(_OUTPUT_DIR.value).resolve():
            raise UserError(f"--{flag.name} is --output_dir: name an earlier run's folder")
    last = max(max(of_task) for of_task in states.values())
    videos = parse_ids(_VIDEO_STATES.value, last + 1, "initial state")
    simulation_flags.check_rendering()
    assets = simulation_flags.assets()
    recorded, layers = simulation_flags.recorded(_SITES.value, _LAYERS.value)

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.checkpoint import code_version
    from mist_jax.evaluation.arms.acting import check_acting
    from mist_jax.evaluation.arms.build import build_arms, build_controller
    from mist_jax.evaluation.evaluate import EvaluationPlan, evaluate
    from mist_jax.evaluation.report.document import write_report
    from mist_jax.evaluation.run_setup import RunSetup, trained_scenes
    from mist_jax.risk.study.checkpoint import to_optional
    from mist_jax.rollout.acting.policy_actor import PolicyActor

    asked = arm_flags.asked_threshold() if registered is None else registered.threshold
    policy = policy_flags.load()
    learnt = arm_flags.learnt_parts(policy, arms)
    config = simulation_flags.worker_config(assets.kind, policy)
    threshold = learnt.threshold if asked is None else asked
    causal, directions = learnt.causal is not None, learnt.directions is not None
    release = arm_flags.release(learnt)
    setup = RunSetup(
        model=policy.identity,
        assets=assets.kind,
        risk_head=learnt.risk_digest,
        causal_bank=learnt.causal_digest,
        intent=arm_flags.INTENT.value if causal else "",
        push=arm_flags.PUSH.value if causal else "",
        coefficient=arm_flags.COEFFICIENT.value if learnt.pushes else 0.0,
        rotation_coefficient=arm_flags.ROTATION_COEFFICIENT.value if learnt.pushes else 0.0,
        brake=arm_flags.BRAKE.value if causal else 0.0,
        halt=arm_flags.HALT.value if causal else 0.0,
        release=release.queries,
        hold=release.hold,
        steering_vectors=learnt.directions_digest,
        method=arm_flags.METHOD.value if directions else "",
        conceptors=learnt.conceptors_digest,
        threshold=to_optional(threshold),
        equivalence_margin=_EQUIVALENCE_MARGIN.value,
        horizon=learnt.horizon,
        share=learnt.share,
        min_force=config.min_force,
        camera_res=config.camera_res,
        render=config.render,
        perturbation=str(perturbation),
        batch_size=policy_flags.batch_size(),
        dtype=policy.dtype,
        policy_scenes=trained_scenes(policy.card),
        trained_on=None if learnt.trained_on is None else tuple(sorted(learnt.trained_on)),
        preregistration=None if registered is None else registered.as_json(),
        commands=(binary.command_line(),),
        code_versions=(code_version(),),
    )
    if registered is not None:
        registered.check(setup, states)
    replays, oracle, setup = _earlier_runs(setup)
    numbers = arm_flags.run_numbers(learnt, threshold, config.chunk, replays=replays, oracle=oracle)
    made, reader, controller = build_arms(arms, numbers), learnt.risk_head, None
    check_acting(made, numbers, reader, policy.sites, policy.layers)
    if reader is not None or learnt.pushes:
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
        directory=folder_of(_OUTPUT_DIR.value),
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
    said = write_report(plan.directory, results, plan.directory, report_flags.PAIRS.value)
    print("\n".join(said))


def _earlier_runs(setup: "RunSetup") -> "tuple[Replays | None, Oracle | None, RunSetup]":
    """What arms draw from other folders, and the setup that names their episodes."""
    from mist_jax.evaluation.earlier_runs import load_oracle, load_replays

    replays = oracle = None
    replay_hash = oracle_hash = ""
    if folder := arm_flags.folder(_REPLAY_FROM):
        replays, replay_hash = load_replays(folder, setup)
    if folder := arm_flags.folder(_ORACLE_FROM):
        oracle, oracle_hash = load_oracle(folder, setup)
    return (
        replays,
        oracle,
        dataclasses.replace(setup, replay_from=replay_hash, oracle_from=oracle_hash),
    )
