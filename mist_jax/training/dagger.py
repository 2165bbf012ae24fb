"""DAgger (Ross et al. 2011): the policy acts, the expert says what it would have done instead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mist_jax.episodes.dataset_info import EXACT, DatasetInfo
from mist_jax.episodes.reader import read_episodes
from mist_jax.policy.policy import Policy
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyActor, default_batch_size
from mist_jax.rollout.collection import OutcomeTally
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.fill import fill_dataset
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.source import Listed

FIRST_SEED = 1_000_000  # no evaluation and no demonstration uses seeds from here on


@dataclass(frozen=True)
class Dagger:
    """Rounds of rollouts, evenly spread over the middle of training.

    Each round runs `episodes_per_task` of every task from `initial_states` (those of the
    demonstrations, never the held-out ones). Rounds take turns with `assets`, and in pairs with
    fast and exact pictures, for a policy that knows them all. `share` of all later draws are
    corrections.
    """

    suites: tuple[str, ...]
    task_ids: tuple[int, ...]
    initial_states: tuple[int, ...]
    assets: tuple[Literal["libero", "lite"], ...]
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

    def folder(self, number: int, output_dir: Path) -> Path:
        """Where the round's episodes are."""
        return output_dir / "dagger" / f"round{number}-{self._assets(number)}"

    def roll_out(self, policy: Policy, number: int, output_dir: Path) -> Path:
        """Run one round, or what an interruption left of it; returns its dataset."""
        kind, folder = self._assets(number), self.folder(number, output_dir)
        batch_size = default_batch_size()
        config = WorkerConfig(
            assets=kind,
            model=policy.identity,
            camera_res=self.camera_res,
            render="fast" if number % 4 < 2 else "exact",
            chunk=policy.model.chunk,
            preprocessor=policy.preprocessor,
        )
        info = DatasetInfo(
            model=policy.identity,
            assets=kind,
            suites=self.suites,
            chunk=policy.model.chunk,
            camera_res=self.camera_res,
            images="query",
            batch_size=batch_size,
            dtype=policy.dtype,
            setup={} if config.render == EXACT else {"render": config.render},
        )
        fill_dataset(
            folder,
            info,
            Listed(self._specs(number)),
            lambda: Fleet(config, self.num_workers),
            PolicyActor(policy, batch_size),
            verb=f"DAgger round {number}",
            tally=OutcomeTally(),
        )
        return folder

    def summary(self, number: int, folder: Path) -> Mapping[str, float]:
        """How the policy did in a round: rates of success and of harmful contact."""
        episodes, kind = list(read_episodes(folder)), self._assets(number)
        return {
            f"success_{kind}": float(np.mean([e.outcome == "success" for e in episodes])),
            f"collision_{kind}": float(np.mean([bool(e.harmful_onsets) for e in episodes])),
        }

    def _assets(self, number: int) -> Literal["libero", "lite"]:
        return self.assets[number % len(self.assets)]

    def _specs(self, number: int) -> Iterator[EpisodeSpec]:
        rng = np.random.default_rng(FIRST_SEED + number)
        for suite in self.suites:
            for task_id in self.task_ids:
                states = rng.choice(self.initial_states, self.episodes_per_task)
                for index, state in enumerate(states):
                    seed = FIRST_SEED + 1000 * number + index
                    key = EpisodeKey(suite, task_id, int(state), seed)
                    yield EpisodeSpec(key, images="query", label=True)
