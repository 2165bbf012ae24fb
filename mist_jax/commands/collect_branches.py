"""Forks risky states of a collection over small changes of the action, and stores every branch.

    python -m experiments.collect_branches --data_dir=data/rollouts --save_dir=data/branches

Each branch is an episode: the steps before the fork are executed again, its offset acts on the next
chunk (or more), then the policy goes on alone to the end. Suites, assets, cameras and batch size
are those of the collection. Run again, the same command goes on where it stopped.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from mist_jax.commands.flags import policy_flags, simulation_flags
from mist_jax.commands.flags.dataset_folders import data_folders
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.disk import replace_file
from mist_jax.episodes.dataset_info import DatasetInfo, load_info
from mist_jax.episodes.index import dataset_hash, read_index
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.output_folder import check_output
from mist_jax.simulator.environment.perturbation import PerturbationSpec
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.suites import find_suite

if TYPE_CHECKING:
    from mist_jax.counterfactual.outcomes import BranchOutcomes
    from mist_jax.simulator.libero.assets import Assets

flags.adopt_module_key_flags(simulation_flags)

OUTCOMES_FILE = "branches.json"

_DATA_DIR = flags.DEFINE_list(
    "data_dir", None, "Datasets of unsteered episodes, comma separated.", required=True
)
_SAVE_DIR = flags.DEFINE_string("save_dir", None, "Folder of the branches.", required=True)
_OFFSET_SIZE = flags.DEFINE_float(
    "offset_size", 0.1, "Metres that a translation commands over one whole chunk.", 0.0
)
_ROTATION_OFFSET_SIZE = flags.DEFINE_float(
    "rotation_offset_size", 0.0, "Radians of a rotation over one whole chunk; 0: no rotations.", 0.0
)
_BRANCH_QUERIES = flags.DEFINE_integer(
    "branch_queries", 2, "For how many queries an offset acts, from the fork's on.", 1, 100
)
_FORKS_PER_EPISODE = flags.DEFINE_integer(
    "forks_per_episode",
    3,
    "At most: of an episode with harm, 1, 0 and 2 queries before its first; of a clean one, a "
    "drawn query, and the one of highest stored risk.",
    1,
    3,
)
_MAX_FORKS = flags.DEFINE_integer(
    "max_forks", None, "Forks in all, drawn by --seed; more add to them. Default: all.", 1
)
_SITES = flags.DEFINE_list(
    "sites",
    ["llm.resid", "llm.resid:image", "llm.resid:proprio"],
    "Activations kept per query; empty for none.",
)
_LAYERS = flags.DEFINE_string("layers", "", "Layers of the sites, such as 2,4; default all.")
_ACTIVATION_DTYPE: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "activation_dtype", "float32", ("float32", "float16"), "How activations are stored."
)
_IMAGES: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "images", "none", ("none", "query"), "Camera pictures kept: none, or of each query."
)
_SHARED = ("model", "assets", "chunk", "camera_res", "render", "min_force", "perturbation")


def main() -> None:
    """Checks the flags, chooses the forks, runs the branches that are missing."""
    folders = data_folders(_DATA_DIR.value)
    check_output(folder_of(_SAVE_DIR.value), "branches")
    there = _what_was_collected(folders)
    offsets = OffsetSet(
        _OFFSET_SIZE.value, _ROTATION_OFFSET_SIZE.value, _BRANCH_QUERIES.value, there.chunk
    )
    perturbation = PerturbationSpec.parse(there.perturbation)
    wanted = _wanted_states(there)
    _check_flags(there)
    simulation_flags.check_rendering()
    assets = _assets(there)
    recorded, layers = simulation_flags.recorded(_SITES.value, _LAYERS.value)

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.checkpoint import code_version
    from mist_jax.counterfactual.choice import choose_forks
    from mist_jax.counterfactual.collection import BranchPlan, collect_branches
    from mist_jax.counterfactual.outcomes import count_outcomes
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.progress import progress_bar
    from mist_jax.rollout.acting.policy_actor import PolicyActor

    with progress_bar(
        "choosing forks", sum(len(read_index(folder)) for folder in folders), "episode"
    ) as bar:
        forks = choose_forks(
            folders,
            per_episode=_FORKS_PER_EPISODE.value,
            most=_MAX_FORKS.value,
            seed=simulation_flags.SEED.value,
            wants=lambda key: key.initial_state in wanted.get((key.suite, key.task_id), ()),
            advance=lambda: bar.advance(1, ""),
        )
    policy = policy_flags.load(there.dtype or None)
    batch_size = policy_flags.BATCH_SIZE.value or there.batch_size
    actor = PolicyActor(policy, batch_size, sites=tuple(recorded), layers=layers)
    config = dataclasses.replace(
        simulation_flags.worker_config(assets.kind, policy),
        camera_res=there.camera_res,
        render=there.render,
        min_force=there.min_force,
    )
    plan = BranchPlan(
        directory=folder_of(_SAVE_DIR.value),
        info=DatasetInfo(
            model=config.model,
            assets=assets.kind,
            suites=tuple(sorted({fork.scene.suite for fork in forks})),
            sites=recorded,
            activation_dtype=_ACTIVATION_DTYPE.value,
            chunk=config.chunk,
            camera_res=config.camera_res,
            images=_IMAGES.value,
            min_force=config.min_force,
            perturbation=there.perturbation,
            batch_size=batch_size,
            dtype=policy.dtype,
            kind="branches",
            setup={**offsets.as_json(), "unsteered": dataset_hash(*folders)},
            commands=(binary.command_line(),),
            code_versions=(code_version(),),
        ),
        forks=forks,
        offsets=offsets,
        perturbation=None if perturbation.kind == "none" else perturbation,
    )
    print(
        f"{config.model} on {assets.kind} assets ({assets.source}): {len(forks)} forks x "
        f"{len(offsets.names)} offsets into {plan.directory}",
        flush=True,
    )
    collect_branches(plan, simulation_flags.fleet_starter(config), actor)
    outcomes = count_outcomes(read_episodes(plan.directory), forks)
    text = json.dumps(outcomes.as_json(), indent=1) + "\n"
    replace_file(plan.directory / OUTCOMES_FILE, text.encode())
    binary.print_table(_table(outcomes))
    print(
        f"poses at the fork are the collection's, bit for bit: {outcomes.begun_alike} of "
        f"{outcomes.checked} branches (largest difference {outcomes.apart:.1e})\n"
        f"the episode repeats to its end without an offset, bit for bit: {outcomes.repeated} of "
        f"{outcomes.zero}"
    )
    if outcomes.repeated < outcomes.zero:
        print("(the machine and --batch_size have to be those of the collection)")
    print(f"dataset: {plan.directory}")


def _what_was_collected(folders: Sequence[Path]) -> DatasetInfo:
    """The description that all folders share."""
    infos = [load_info(folder) for folder in folders]
    for folder, info in zip(folders, infos, strict=True):
        if info.kind == "branches":
            raise UserError(f"--data_dir: {folder} holds branches; name unsteered episodes")
        for name in _SHARED:
            if getattr(info, name) != getattr(infos[0], name):
                raise UserError(
                    f"--data_dir: {name} is {getattr(info, name)!r} in {folder} and "
                    f"{getattr(infos[0], name)!r} in {folders[0]}; branch each by itself"
                )
    suites = tuple(sorted({suite for info in infos for suite in info.suites}))
    return dataclasses.replace(infos[0], suites=suites)


def _wanted_states(there: DatasetInfo) -> dict[tuple[str, int], Sequence[int]]:
    """Initial states by suite and task: all, or those that the flags of scenes leave."""
    suites = there.suites
    if flags.FLAGS["env"].present:
        if simulation_flags.ENV.value not in suites:
            raise UserError(
                f"--env={simulation_flags.ENV.value}: the collection is of {', '.join(suites)}"
            )
        suites = (simulation_flags.ENV.value,)
    wanted: dict[tuple[str, int], Sequence[int]] = {}
    for name in suites:
        suite = find_suite(name)
        task_ids = parse_ids(simulation_flags.TASK_IDS.value, len(suite.tasks), "task")
        states: dict[int, Sequence[int]] = dict.fromkeys(task_ids, range(2**31))
        if simulation_flags.INITIAL_STATES.value:
            chosen = simulation_flags.INITIAL_STATES.value
            states.update(choose_initial_states(suite, task_ids, chosen))
        wanted.update({(name, task_id): ids for task_id, ids in states.items()})
    return wanted


def _check_flags(there: DatasetInfo) -> None:
    """Refuses another model, and what would make the episodes others."""
    from mist_jax.loading import find_policy
    from mist_jax.policy.checkpoint import read_card

    name = policy_flags.MODEL_NAME.value
    acting = name if name == simulation_flags.EXPERT else read_card(find_policy(name)).identity
    if acting != there.model or name == simulation_flags.EXPERT:
        raise UserError(
            f"--model_name={name} is {acting}, and {there.model} acted in the collection: "
            "branches go on with the policy that began"
        )
    for flag in ("camera_res", "render", "min_force"):
        value = getattr(there, flag)
        if flags.FLAGS[flag].present and flags.FLAGS[flag].value != value:
            raise UserError(f"--{flag}: the collection has {value}; leave the flag out")
    if simulation_flags.SAVE_VIDEO.value != "none":
        raise UserError("--save_video: the steps before a fork have no pictures; leave it out")


def _assets(there: DatasetInfo) -> "Assets":
    """Those of the collection, on this machine."""
    from mist_jax.simulator.libero.assets import check_assets_serve, find_assets

    asked = simulation_flags.ASSETS.value
    if asked not in ("auto", there.assets):
        raise UserError(f"--assets={asked}: the collection is on {there.assets} assets")
    found = find_assets("lite" if there.assets == "lite" else "libero")
    for suite in there.suites:
        check_assets_serve(find_suite(suite), found)
    return found


def _table(outcomes: "BranchOutcomes") -> Table:
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=f"harm soon: a harmful event within {outcomes.horizon} steps of the fork",
    )
    for column in ("fork", "offset", "branches", "harm soon", "harm", "success"):
        table.add_column(column, justify="left" if column in ("fork", "offset") else "right")
    for ahead, counts in sorted(outcomes.counts.items(), reverse=True):
        for offset, count in counts.items():
            shares = (count.harm_soon, count.harm, count.success)
            cells = (f"{share} ({share / count.branches:.0%})" for share in shares)
            table.add_row(ahead, offset, str(count.branches), *cells)
    return table
