"""What the loop around simulators and policy makes of a host, both of them made up of waiting.

    python -m tests.measuring.fleet_speed --num_workers=16 --answer_ms=13 --batch_size=16

Workers take as long as LIBERO's do on a host with a GPU (a chunk 150 ms, a reset 0.4 s, another
task's scene 1.6 s, questions with two pictures), and the policy as long as it is told to. So two
cores show how 16 workers are scheduled: what is lost is the loop's.
"""

import dataclasses
import time
from collections import Counter

import numpy as np
from absl import app, flags

from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.recording import Recording
from mist_jax.rollout.run import run
from mist_jax.rollout.source import Listed
from mist_jax.rollout.worker import no_queries

_WORKERS = flags.DEFINE_integer("num_workers", 16, "Simulators.")
_BATCH = flags.DEFINE_integer("batch_size", 16, "Questions of one call.")
_ANSWER = flags.DEFINE_float("answer_ms", 13.0, "What one call takes, whatever its fill.")
_PER_TASK = flags.DEFINE_integer("episodes_per_task", 12, "Of ten tasks.")
_TURNS = flags.DEFINE_integer("turns", 13, "Questions of an episode.")
_CHUNK_MS = flags.DEFINE_float("chunk_ms", 150.0, "Simulating a chunk; a third more or less.")
_RESET_MS, _SCENE_MS = 400.0, 1600.0


class WaitingWorker:
    """Takes its time, and says how many scenes it built in the episode's error."""

    def __init__(self, config: WorkerConfig):
        self._turns, self._chunk_ms = (int(word) for word in config.model.split())
        self._task, self._built = None, 0
        self._images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)

    def ready(self) -> bool:
        return True

    def start(self, spec: EpisodeSpec) -> Turn:
        self._key, self._asked = spec.key, 0
        self._rng = np.random.default_rng([spec.key.task_id, spec.key.initial_state])
        if (fresh := self._task != spec.key.task_id) and self._task is not None:
            self._built += 1
        self._task = spec.key.task_id
        time.sleep((_RESET_MS + fresh * _SCENE_MS) / 1e3)
        return self._ask()

    def act(self, chunk: np.ndarray | None) -> Turn:
        time.sleep(self._chunk_ms / 1e3 * self._rng.uniform(2 / 3, 4 / 3))
        if self._asked < self._turns:
            return self._ask()
        episode = Episode(
            key=self._key,
            instruction="",
            outcome="failure",
            max_steps=8 * self._turns,
            assets="lite",
            model="",
            perturbation="none",
            object_names=(),
            steps=Recording(()).steps(),
            contacts=(),
            queries=no_queries(8),
            error=str(self._built),
        )
        self._built = 0
        return Turn(self._key, 8 * self._asked, episode=episode)

    def _ask(self) -> Turn:
        self._asked += 1
        inputs = PolicyInputs(self._images, np.zeros(8, np.float32), np.zeros(30, np.int32), "")
        return Turn(self._key, 8 * (self._asked - 1), inputs=inputs)


@dataclasses.dataclass(frozen=True)
class _Chunk:
    chunk: np.ndarray
    error: str = ""


class WaitingActor:
    """Answers after `seconds`, and counts its calls and what was in them."""

    def __init__(self, batch_size: int, seconds: float):
        self.batch_size, self._seconds = batch_size, seconds
        self.calls = self.turns = 0

    def answer(self, turns, queries):
        time.sleep(self._seconds)
        self.calls, self.turns = self.calls + 1, self.turns + len(turns)
        return [_Chunk(np.zeros((8, 7), np.float32)) for _ in turns]

    def finish(self, episode: Episode, answers) -> Episode:
        return episode


def main(_: list[str]) -> None:
    """Prints one line."""
    workers, count = _WORKERS.value, 10 * _PER_TASK.value
    keys = [
        EpisodeKey("libero_spatial", task, state, 0)
        for state in range(_PER_TASK.value)
        for task in range(10)
    ]
    config = WorkerConfig(assets="lite", model=f"{_TURNS.value} {_CHUNK_MS.value:.0f}")
    actor = WaitingActor(_BATCH.value, _ANSWER.value / 1e3)
    ended = Counter()

    class Count:
        def put(self, episode: Episode) -> None:
            ended.update(episodes=1, scenes=int(episode.error))

    with Fleet(config, workers, worker_class=WaitingWorker) as fleet:
        began, cpu = time.perf_counter(), time.process_time()
        run(Listed(map(EpisodeSpec, keys)), fleet, actor, [Count()])
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    alone = count * (_RESET_MS + _TURNS.value * _CHUNK_MS.value) / 1e3 / workers
    print(
        f"{workers} workers, {_ANSWER.value:g} ms a call of {_BATCH.value}: "
        f"{count / seconds:.2f} episodes/s ({count / alone:.2f} if nothing but simulation took "
        f"time), {ended['scenes']} scenes built again, {actor.turns / actor.calls:.1f} questions a "
        f"call, device busy {100 * actor.calls * _ANSWER.value / 1e3 / seconds:.0f}%, "
        f"driver's CPU {1e3 * cpu / actor.turns:.2f} ms a question"
    )


if __name__ == "__main__":
    app.run(main)
