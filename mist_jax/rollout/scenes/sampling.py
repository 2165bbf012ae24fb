"""A run that finds the good ones among the sampled scenes, and writes the table of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.reader import read_episodes
from mist_jax.episodes.shards import load_shards
from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.expert_actor import ExpertActor
from mist_jax.rollout.episode_spec import EpisodeSpec
from mist_jax.rollout.fill import fill_dataset
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.scenes.good_scene import is_good_scene
from mist_jax.rollout.scenes.trials import SceneTrials
from mist_jax.simulator.libero.sampled_scenes import POOLS, Pool
from mist_jax.simulator.libero.scene_table import SceneTable

TABLE_FILE = "scenes.json"


@dataclass(frozen=True)
class SamplingPlan:
    """Which scenes are wanted: `n_scenes` of `pool` for each task, of its first `max_attempts`.

    `directory` becomes a dataset of the expert's episodes, which `info` describes, with the table
    of accepted scenes beside. Fixtures stand where `seed` puts them.
    """

    directory: Path
    info: DatasetInfo
    suite: str
    task_ids: tuple[int, ...]
    pool: Pool
    n_scenes: int
    max_attempts: int
    seed: int = 0


@dataclass
class SceneTally:
    """How many of the scenes that `trials` wants were accepted, and why the others were not."""

    trials: SceneTrials
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, key: EpisodeKey, outcome: str, *, harmful: bool) -> None:
        """Counts one; the folder may hold another pool's, which are not told."""
        if not self.trials.has_tried(key):
            return
        why = outcome
        if outcome == "success":
            why = "harmful contact" if harmful else "not still"
        self.counts["accepted" if self.trials.has_accepted(key) else why] += 1

    def __str__(self) -> str:
        return ", ".join(f"{count} {why}" for why, count in sorted(self.counts.items()))


def sample_scenes(plan: SamplingPlan, start_fleet: Callable[[], Fleet]) -> Path:
    """Lets the expert try what `plan.directory` lacks; see `fill_dataset`.

    Returns:
      The table's file; scenes of other tasks and of other pools stay in it.

    Raises:
      UserError: as `fill_dataset`, or a task has too few good scenes.
    """
    trials = SceneTrials(
        plan.suite,
        plan.task_ids,
        POOLS[plan.pool][: plan.max_attempts],
        plan.n_scenes,
        plan.seed,
        lambda key: EpisodeSpec(key, acting="expert"),
        known_good=_good_ones(plan.directory),
    )
    fill_dataset(
        plan.directory,
        plan.info,
        trials,
        start_fleet,
        ExpertActor(),
        verb=f"sampling {plan.pool}",
        tally=SceneTally(trials),
    )
    found = trials.accepted
    short = [f"task {i} {len(ids)}" for i, ids in found.items() if len(ids) < plan.n_scenes]
    if short:
        raise UserError(
            f"too few good scenes of {plan.n_scenes} wanted, with {plan.max_attempts} tried: "
            f"{', '.join(short)}; raise --max_attempts_per_task, or choose other --task_ids"
        )
    path = plan.directory / TABLE_FILE
    table = SceneTable.read(path) if path.exists() else SceneTable(plan.suite)
    if table.suite != plan.suite:
        raise UserError(f"{path} holds scenes of {table.suite}: name another folder")
    table.joined(plan.pool, found).write(path)
    return path


def _good_ones(directory: Path) -> set[EpisodeKey]:
    """Of the episodes that an earlier run has stored."""
    if not sum(load_shards(directory)):
        return set()
    return {episode.key for episode in read_episodes(directory) if is_good_scene(episode)}
