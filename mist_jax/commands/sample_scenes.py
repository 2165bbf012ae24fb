"""Finds sampled scenes that stand still and that the scripted expert solves without harm.

    python -m experiments.sample_scenes --env=libero_spatial --pool=tuning --output_dir=runs/scenes

Run again, the same command goes on where it stopped. The folder becomes a dataset of the expert's
episodes; `scenes.json` in it lists the accepted initial states of each task, beside those of other
tasks and pools that it lists already. A suite that names that file (`Suite.scenes`) has them as
`--initial_states=tuning`, `sealed` and `study`.
"""

from typing import Any

from absl import flags

from mist_jax.commands.flags import simulation_flags
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.output_folder import check_output
from mist_jax.simulator.libero.sampled_scenes import POOLS

_SHARED = ("env", "task_ids", "assets", "seed", "num_workers", "ray_address", "worker_timeout")
for _name in (*_SHARED, "extensions"):
    flags.declare_key_flag(_name)

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the results.", required=True)
_POOL: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "pool",
    "tuning",
    tuple(POOLS),
    "Which range of indices: "
    + ", ".join(f"{name} {ids[0]}-{ids[-1]}" for name, ids in POOLS.items())
    + ".",
)
_N_SCENES = flags.DEFINE_integer("n_scenes", 40, "Good scenes wanted per task.", 1)
_MAX_ATTEMPTS = flags.DEFINE_integer(
    "max_attempts_per_task",
    200,
    "Scenes tried per task at most.",
    1,
    min(len(ids) for ids in POOLS.values()),
)


def main() -> None:
    """Checks the flags, lets the expert try, writes the table."""
    task_ids = simulation_flags.task_ids()
    directory, pool = folder_of(_OUTPUT_DIR.value), _POOL.value
    check_output(directory, "collection")
    assets = simulation_flags.assets()

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.checkpoint import code_version
    from mist_jax.episodes.dataset_info import DatasetInfo
    from mist_jax.rollout.scenes.sampling import SamplingPlan, sample_scenes

    config = simulation_flags.worker_config(assets.kind, None)
    plan = SamplingPlan(
        directory=directory,
        info=DatasetInfo(
            model=config.model,
            assets=assets.kind,
            suites=(simulation_flags.ENV.value,),
            chunk=config.chunk,
            camera_res=config.camera_res,
            min_force=config.min_force,
            commands=(binary.command_line(),),
            code_versions=(code_version(),),
        ),
        suite=simulation_flags.ENV.value,
        task_ids=task_ids,
        pool=pool,
        n_scenes=_N_SCENES.value,
        max_attempts=_MAX_ATTEMPTS.value,
        seed=simulation_flags.SEED.value,
    )
    print(f"{plan.suite}, {pool} scenes, on {assets.kind} assets into {directory}", flush=True)
    table = sample_scenes(plan, simulation_flags.fleet_starter(config))
    print(f"accepted scenes: {table}")
