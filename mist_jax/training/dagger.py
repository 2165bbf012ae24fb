"""DAgger (Ross et al. 2011): the policy acts, the expert says what it would have done instead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.reader import read_episodes
from mist_jax.episodes.record import EpisodeKey
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.policy.policy import Policy
from mist_jax.rollout.batcher import Batcher
from mist_jax.rollout.driver import run_episodes
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.fleet import Fleet

FIRST_SEED = 1_000_000  # no evaluation and no demonstration uses seeds from here on


@dataclass(frozen=True)
class Dagger:
    """Rounds of rollouts, evenly spread over the middle of training.

    Each round runs `episodes_per_task` of every task on every asset set, from `initial_states`
    (those of the demonstrations, never the held-out ones). `share` of all later draws are
    corrections.
    """

    suites: tuple[str, ...]
    task_ids: tuple[int, ...]
    initial_states: tuple[int, ...]
    assets: tuple[str, ...]
    rounds: int
    episodes_per_task: int
    share: float = 0.5
    first_at: float = 0.3  # as a part of all training steps
    last_at: float = 0.85
    num_workers: int = 2
    camera_res: int = 256

    def steps_of_rounds(self, total: int) -> tuple[int, ...]:
        """The training steps before which a round is run."""
        places = np.linspace(self.first_at, self.last_at, self.rounds)
        return tuple(int(total * place) for place in places)

    def folders(self, number: int, output_dir: Path) -> tuple[Path, ...]:
        """Where the round's episodes are, a dataset per asset set."""
        return tuple(output_dir / "dagger" / f"round{number}-{kind}" for kind in self.assets)

    def roll_out(self, policy: Policy, number: int, output_dir: Path) -> tuple[Path, ...]:
        """Run one round, or what an interruption left of it; returns its datasets."""
        folders = self.folders(number, output_dir)
        for kind, folder in zip(self.assets, folders, strict=True):
            config = WorkerConfig(
                assets=kind,
                model=policy.identity,
                camera_res=self.camera_res,
                render="fast",
                chunk=policy.config.chunk,
                preprocessor=policy.preprocessor,
            )
            info = DatasetInfo(
                model=policy.identity,
                assets=kind,
                suites=self.suites,
                chunk=policy.config.chunk,
                camera_res=self.camera_res,
                images="query",
            )
            with EpisodeWriter(folder, info) as writer:
                done = writer.keys()
                specs = [spec for spec in self._specs(number) if spec.key not in done]
                if specs:
                    with Fleet(config, self.num_workers) as fleet:
                        batcher = Batcher(policy, self.num_workers)
                        for episode in run_episodes(specs, fleet, batcher):
                            writer.append(episode)
        return folders

    def summary(self, folders: tuple[Path, ...]) -> Mapping[str, float]:
        """How the policy did in a round, by asset set: rates of success and harmful contact."""
        rates = {}
        for kind, folder in zip(self.assets, folders, strict=True):
            episodes = list(read_episodes(folder))
            rates[f"success_{kind}"] = np.mean([e.outcome == "success" for e in episodes])
            rates[f"collision_{kind}"] = np.mean([bool(e.harmful_onsets) for e in episodes])
        return {name: float(rate) for name, rate in rates.items()}

    def _specs(self, number: int) -> Iterator[EpisodeSpec]:
        rng = np.random.default_rng(FIRST_SEED + number)
        for suite in self.suites:
            for task_id in self.task_ids:
                states = rng.choice(self.initial_states, self.episodes_per_task)
                for index, state in enumerate(states):
                    seed = FIRST_SEED + 1000 * number + index
                    key = EpisodeKey(suite, task_id, int(state), seed)
                    yield EpisodeSpec(key, images="query", label=True)
