"""Flags of every command that simulates."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from absl import flags

from mist_jax.commands.flags import extension_flags
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.suites import OWN_SUITES, find_suite, load_suite

if TYPE_CHECKING:
    from mist_jax.episodes.dataset_info import Site
    from mist_jax.policy.policy import Policy
    from mist_jax.rollout.episode_spec import WorkerConfig
    from mist_jax.rollout.fleet import Fleet
    from mist_jax.simulator.libero.assets import Assets

DEFAULT_MAX_WORKERS = 8  # a simulator process takes about 1 GB


EXPERT = "expert"

ASSETS: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "assets",
    "auto",
    ("auto", "libero", "lite"),
    "Which scene assets to simulate: LIBERO's own, this project's stand-ins, or auto: LIBERO's "
    "where they are found, else the stand-ins.",
)
ENV = flags.DEFINE_string(
    "env",
    "libero_spatial",
    f"Suite: {', '.join(suite.name for suite in OWN_SUITES)}, or one of --extensions.",
)
MODEL_NAME = flags.DEFINE_string(
    "model_name",
    "mist-nano",
    "Converted model folder, hub id, a shipped one such as mist-nano, or, to collect, expert.",
)
TASK_IDS = flags.DEFINE_string("task_ids", "", "Tasks of the suite, such as 0-4,7; default all.")
INITIAL_STATES = flags.DEFINE_string(
    "initial_states",
    "",
    "Initial states of each task, such as 0-29; from 1000 on they are sampled. tuning, sealed "
    "or study: the sampled ones that the expert solves safely; tuning:20: 20 of each task. "
    "Default: all published.",
)
CAMERA_RES = flags.DEFINE_integer(
    "camera_res", 256, "Height and width of the rendered cameras, pixels.", 32, 1024
)
SEED = flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn.", 0, 2**31 - 1)
NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    None,
    f"Simulator processes; default: one per usable core, at most {DEFAULT_MAX_WORKERS}.",
    1,
    4096,
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    None,
    "Queries that one compiled call of the policy answers, short of which it is padded. Results "
    "depend on it, and not on --num_workers. Default: 1 on a CPU, 8 on an accelerator.",
    1,
    4096,
)
RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", None, "Ray cluster to simulate on, such as auto or host:6379; default: here."
)
WORKER_TIMEOUT = flags.DEFINE_float(
    "worker_timeout",
    300.0,
    "Seconds after which a simulator that does not answer is replaced and its episode run again.",
    1.0,
)
MIN_FORCE = flags.DEFINE_float("min_force", 1.0, "Newtons from which a contact counts.", 0.0)
RENDER: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "render",
    "exact",
    ("exact", "fast"),
    "exact: LIBERO's own pictures; fast: no reflections, no multisampling, half the time.",
)
VERIFY = flags.DEFINE_bool(
    "verify", True, "Compare the model's parameters with their digest: some 20 s for a 7B model."
)
SAVE_VIDEO: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "save_video",
    "none",
    ("none", "all", "success", "failure", "harmful"),
    "Episodes of which an mp4 is drawn; every step of each is then rendered: slow.",
)

flags.adopt_module_key_flags(extension_flags)


@flags.validator("env")
def _suite_is_there(name: str) -> bool:
    try:
        find_suite(name)
    except UserError as error:
        raise flags.ValidationError(str(error)) from error
    return True


flags.register_validator(
    "model_name", lambda value: bool(value), "give a model folder, a hub id or mist-nano"
)


def task_ids() -> tuple[int, ...]:
    """`--task_ids`, sorted. Raises UserError where the suite has no such task."""
    return parse_ids(TASK_IDS.value, len(load_suite(ENV.value)), "task")


def initial_states() -> dict[int, tuple[int, ...]]:
    """`--initial_states` of each of `--task_ids`, sorted, by task id.

    Raises UserError where a chosen task has no such state.
    """
    return choose_initial_states(find_suite(ENV.value), task_ids(), INITIAL_STATES.value)


def assets() -> "Assets":
    """What `--assets` means on this machine. Raises UserError where it lacks `--env`'s things."""
    from mist_jax.simulator.libero.assets import check_assets_serve, find_assets

    found = find_assets(ASSETS.value)
    check_assets_serve(find_suite(ENV.value), found)
    return found


def check_rendering() -> None:
    """Refuses, before anything is started, where this machine is to render and cannot."""
    from mist_jax.simulator.environment.rendering import check_gl

    if RAY_ADDRESS.value is None:
        check_gl()


def recorded(sites: Sequence[str], layers: str) -> "tuple[dict[str, Site], tuple[int, ...]]":
    """What `--sites` and `--layers` mean for `--model_name`, whose parameters are not read yet.

    Raises UserError where it has no such site or layer.
    """
    from mist_jax.loading import find_policy
    from mist_jax.policy.checkpoint import read_card
    from mist_jax.policy.model import steerable_layers
    from mist_jax.rollout.acting.kept_site import kept_site

    model = read_card(find_policy(MODEL_NAME.value)).model
    chosen = parse_ids(layers, steerable_layers(model), "layer")
    return {site: kept_site(model.sites, site, chosen) for site in sites}, chosen


def num_workers() -> int:
    """`--num_workers`, or one per core that this process may use."""
    if NUM_WORKERS.value is not None:
        return NUM_WORKERS.value
    return min(len(os.sched_getaffinity(0)), DEFAULT_MAX_WORKERS)


def batch_size() -> int:
    """`--batch_size`, or what suits the device."""
    from mist_jax.rollout.acting.policy_actor import default_batch_size

    return default_batch_size() if BATCH_SIZE.value is None else BATCH_SIZE.value


def worker_config(assets: Literal["libero", "lite"], policy: "Policy | None") -> "WorkerConfig":
    """What the simulators of this run have in common; without a policy the expert acts."""
    from mist_jax.rollout.episode_spec import WorkerConfig

    config = WorkerConfig(
        assets=assets,
        model=EXPERT,
        camera_res=CAMERA_RES.value,
        render=RENDER.value,
        min_force=MIN_FORCE.value,
    )
    if policy is None:
        return config
    return dataclasses.replace(
        config,
        model=policy.identity,
        chunk=policy.model.chunk,
        preprocessor=policy.preprocessor,
    )


def fleet_starter(config: "WorkerConfig") -> "Callable[[], Fleet]":
    """Starts the simulators when called."""
    from mist_jax.rollout.fleet import Fleet

    return lambda: Fleet(
        config, num_workers(), ray_address=RAY_ADDRESS.value, timeout=WORKER_TIMEOUT.value
    )
