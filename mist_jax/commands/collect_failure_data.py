"""Collects episodes with their contacts, outcomes and activations into an episode dataset.

python -m experiments.collect_failure_data --n_success=5 --n_failure=5 --save_dir=data/rollouts

Run again, the same command goes on where it stopped.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from mist_jax.commands.flags import perturbation_flags, policy_flags, simulation_flags
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.episodes.dataset_info import EXACT
from mist_jax.errors import UserError
from mist_jax.output_folder import check_output
from mist_jax.rollout.episode_spec import check_probes

flags.adopt_module_key_flags(simulation_flags)
flags.adopt_module_key_flags(perturbation_flags)

_SAVE_DIR = flags.DEFINE_string("save_dir", None, "Folder of the dataset.", required=True)
_N_SUCCESS = flags.DEFINE_integer("n_success", 20, "Successes wanted per task.", 0)
_N_FAILURE = flags.DEFINE_integer("n_failure", 20, "Failures wanted per task.", 0)
_MAX_ATTEMPTS = flags.DEFINE_integer(
    "max_attempts_per_task", 100, "Episodes tried per task at most.", 1
)
_PHASE1 = flags.DEFINE_bool(
    "phase1", False, "Only contact labels: --n_episodes per task, no quotas, no activations."
)
_N_EPISODES = flags.DEFINE_integer("n_episodes", 20, "Episodes per task, with --phase1.", 1)
_SITES = flags.DEFINE_list("sites", ["llm.resid"], "Activations kept per query; empty for none.")
_LAYERS = flags.DEFINE_string("layers", "", "Layers of the sites, such as 8-23; default all.")
_ACTIVATION_DTYPE: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "activation_dtype",
    "float32",
    ("float32", "float16"),
    "How activations are stored; float16 takes half the space.",
)
_IMAGES: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "images", "none", ("none", "query", "step"), "Camera pictures kept: none, per query, per step."
)
_EXPERT_LABELS = flags.DEFINE_bool(
    "expert_labels",
    False,
    "Keep at every query what the scripted expert would do there, which knows the obstacles: what "
    "steering toward_expert is learnt from. Twice the simulator's work.",
)
_PROBES = flags.DEFINE_list(
    "probes",
    [],
    "Further queries, asked and not executed: overlap (half a chunk later: STAC reads it), "
    "variance (eight copies with perturbed pictures: nine times the policy's work); default none.",
)


def main() -> None:
    """Checks the flags, then collects."""
    perturbation = perturbation_flags.perturbation()
    states = simulation_flags.initial_states()
    if not _PHASE1.value and _N_SUCCESS.value + _N_FAILURE.value == 0:
        raise UserError("--n_success and --n_failure are both 0: there is nothing to collect")

    probes = check_probes(_PROBES.value)

    check_output(folder_of(_SAVE_DIR.value), "collection")
    expert = policy_flags.MODEL_NAME.value == simulation_flags.EXPERT
    if expert and probes:
        raise UserError("--probes ask a policy, and --model_name=expert is none: leave them out")
    if expert and _EXPERT_LABELS.value:
        raise UserError("--expert_labels are of a policy's episodes; --model_name=expert acts so")
    if not expert or _IMAGES.value != "none" or simulation_flags.SAVE_VIDEO.value != "none":
        simulation_flags.check_rendering()
    assets = simulation_flags.assets()
    recorded, layers = {}, ()
    if not expert:
        sites = () if _PHASE1.value else _SITES.value
        recorded, layers = simulation_flags.recorded(sites, _LAYERS.value)

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.checkpoint import code_version
    from mist_jax.episodes.dataset_info import DatasetInfo
    from mist_jax.episodes.summary.figure import summary_table
    from mist_jax.episodes.summary.files import summarise_dataset
    from mist_jax.rollout.acting.expert_actor import ExpertActor
    from mist_jax.rollout.acting.policy_actor import PolicyActor
    from mist_jax.rollout.acting.probes import ProbingActor
    from mist_jax.rollout.attempts import Quotas
    from mist_jax.rollout.collection import CollectionPlan, collect

    policy, actor, batch_size = None, ExpertActor(), 1
    if not expert:
        policy = policy_flags.load()
        batch_size = policy_flags.batch_size()
        actor = PolicyActor(policy, batch_size, sites=tuple(recorded), layers=layers)
        if probes:
            actor = ProbingActor(actor, policy, probes)
    config = simulation_flags.worker_config(assets.kind, policy)
    config = dataclasses.replace(config, between="overlap" in probes)
    plan = CollectionPlan(
        directory=folder_of(_SAVE_DIR.value),
        info=DatasetInfo(
            model=config.model,
            assets=assets.kind,
            suites=(simulation_flags.ENV.value,),
            sites=recorded,
            activation_dtype=_ACTIVATION_DTYPE.value,
            chunk=config.chunk,
            camera_res=config.camera_res,
            images=_IMAGES.value,
            min_force=config.min_force,
            perturbation=str(perturbation),
            batch_size=batch_size,
            dtype="" if policy is None else policy.dtype,
            setup=_setup(probes),
            commands=(binary.command_line(),),
            code_versions=(code_version(),),
        ),
        suite=simulation_flags.ENV.value,
        initial_states=states,
        seed=simulation_flags.SEED.value,
        quotas=Quotas(_N_EPISODES.value)
        if _PHASE1.value
        else Quotas(_MAX_ATTEMPTS.value, _N_SUCCESS.value, _N_FAILURE.value),
        acting="expert" if expert else "policy",
        perturbation=None if perturbation.kind == "none" else perturbation,
        video=simulation_flags.SAVE_VIDEO.value,
        label=_EXPERT_LABELS.value,
    )
    print(
        f"{config.model} on {assets.kind} assets ({assets.source}) into {plan.directory}",
        flush=True,
    )
    collect(plan, simulation_flags.fleet_starter(config), actor)
    summary = summarise_dataset(plan.directory)
    binary.print_table(summary_table(summary))
    print(f"dataset: {plan.directory}; picture: {plan.directory / 'summary.png'}")


def _setup(probes: Sequence[str]) -> dict[str, Any]:
    """What was asked beside the policy's own queries, and pictures that are not drawn exactly."""
    asked: dict[str, Any] = {"probes": list(probes)} if probes else {}
    if simulation_flags.RENDER.value != EXACT:
        asked["render"] = simulation_flags.RENDER.value
    return {**asked, "expert_labels": True} if _EXPERT_LABELS.value else asked
