"""Runs the arms of an evaluation on the same episodes, and writes what they show as a report.

    python -m experiments.run_evaluation --risk_head=runs/risk --steering_vectors=runs/steering \
        --interventions=none,safe_stop,random,mist --n_episodes=10 --output_dir=runs/evaluation

Run again, the same command goes on where it stopped. `--interventions=none` needs a model only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments import binary, perturbation_flags, simulation_flags, study_flags
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.checks import check_acting, check_arms
from mist_jax.evaluation.arms.registry import ARMS
from mist_jax.evaluation.study.opening import check_opening
from mist_jax.ids import parse_ids
from mist_jax.output_folder import check_output

if TYPE_CHECKING:
    from absl.flags import FlagHolder

    from mist_jax.evaluation.arms.row import Need
    from mist_jax.evaluation.learnt_parts import LearntParts
    from mist_jax.policy.policy import Policy

flags.adopt_module_key_flags(simulation_flags)
flags.adopt_module_key_flags(perturbation_flags)
flags.adopt_module_key_flags(study_flags)

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the results.", required=True)
_RISK_HEAD = flags.DEFINE_string("risk_head", None, "Folder that train_risk_predictor wrote.")
_STEERING_VECTORS = flags.DEFINE_string(
    "steering_vectors", None, "Folder that extract_steering_vectors wrote."
)
_INTERVENTIONS = flags.DEFINE_list(
    "interventions",
    ["none", "safe_stop", "random", "mist"],
    f"Arms, or those of --extensions: {'; '.join(f'{row.name} ({row.what})' for row in ARMS)}.",
)
_N_EPISODES = flags.DEFINE_integer("n_episodes", 10, "Episodes per task and arm.", 1)
_COEFFICIENT = flags.DEFINE_float(
    "coefficient", 0.1, "Length of a push as a fraction of the residual stream's norm.", 0.0
)
_METHOD = flags.DEFINE_string("method", "contrast", "Which of the bank's directions push.")
_RISK_THRESHOLD = flags.DEFINE_list(
    "risk_threshold",
    [],
    "Risk above which a motion alarms: one number, one per dimension or one per signed motion; "
    "default: as the risk head was calibrated.",
)
_GATE_RATE = flags.DEFINE_list(
    "gate_rate",
    [],
    f"For {', '.join(row.name for row in ARMS if 'rate' in row.needs)}: share of queries at which "
    "a motion opens; one number, one per dimension or one per signed motion.",
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
        "bank": _STEERING_VECTORS,
        "rate": _GATE_RATE,
    }
    check_arms(arms, [need for need, flag in parts.items() if flag.value])
    if _STEERING_VECTORS.value and not _RISK_HEAD.value:
        raise UserError("--steering_vectors needs --risk_head: its risk says when to push")
    last = max(max(of_task) for of_task in states.values())
    videos = parse_ids(_VIDEO_STATES.value, last + 1, "initial state")
    simulation_flags.check_rendering()
    assets = simulation_flags.assets()
    recorded, layers = simulation_flags.recorded(_SITES.value, _LAYERS.value)

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.checkpoint import code_version
    from mist_jax.evaluation.arms.build import build_arms, build_controller, run_numbers
    from mist_jax.evaluation.evaluate import EvaluationPlan, evaluate
    from mist_jax.evaluation.report.document import write_report
    from mist_jax.evaluation.run_setup import RunSetup, per_motion, trained_scenes
    from mist_jax.loading import load_policy
    from mist_jax.risk.study.checkpoint import to_optional
    from mist_jax.rollout.policy_actor import PolicyActor

    rate = per_motion(_GATE_RATE.value, "--gate_rate", most=1.0) if _GATE_RATE.value else None
    asked = None
    if _RISK_THRESHOLD.value:
        asked = per_motion(_RISK_THRESHOLD.value, "--risk_threshold", most=1.0)
    if registered is not None:
        asked = registered.threshold
    policy = load_policy(simulation_flags.MODEL_NAME.value, verify=simulation_flags.VERIFY.value)
    learnt = _learnt_parts(policy)
    config = simulation_flags.worker_config(assets.kind, policy)
    threshold = learnt.threshold if asked is None else asked
    setup = RunSetup(
        model=policy.identity,
        assets=assets.kind,
        risk_head=learnt.risk_digest,
        steering_vectors=learnt.bank_digest,
        method=_METHOD.value if learnt.bank is not None else "",
        coefficient=_COEFFICIENT.value if learnt.bank is not None else 0.0,
        threshold=to_optional(threshold),
        gate_rate=None if rate is None else tuple(rate.tolist()),
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
        commands=(binary.command(),),
        code_versions=(code_version(),),
    )
    if registered is not None:
        registered.check(setup, states)
    numbers = run_numbers(
        arms,
        alarm_threshold=threshold,
        coefficient=_COEFFICIENT.value,
        bank=learnt.bank,
        gate_rate=rate,
    )
    made, reader, controller = build_arms(arms, numbers), learnt.risk_head, None
    check_acting(made, numbers, reader, policy.sites, policy.layers)
    if reader is not None:
        controller = build_controller(arms, reader, sites=policy.sites, bank=learnt.bank)
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
    print(f"{policy.identity} on {assets.kind} assets ({assets.source}): {', '.join(arms)}")
    results = evaluate(plan, simulation_flags.fleet_starter(config), actor)
    print("\n".join(write_report(plan.directory, results)))


def _learnt_parts(policy: "Policy") -> "LearntParts":
    from mist_jax.evaluation.learnt_parts import load_learnt_parts

    return load_learnt_parts(
        policy,
        Path(_RISK_HEAD.value) if _RISK_HEAD.value else None,
        Path(_STEERING_VECTORS.value) if _STEERING_VECTORS.value else None,
        _METHOD.value,
    )


if __name__ == "__main__":
    binary.run(main)
