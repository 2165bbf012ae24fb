"""Do CUDA and EGL get along in one process, for thousands of episodes?

    python -m tests.measuring.gpu_soak --processes=16 --seconds=480

Every process asks mist-nano on the GPU and renders with EGL on the same GPU: the beginnings of
episodes (a reset and some chunks), another task's scene after every few. It ends with status 1
where a process died, or where an episode that is begun again at the end differs in one bit.
"""

import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

_PROCESSES = flags.DEFINE_integer("processes", 1, "Each with CUDA and EGL of its own.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "How long each goes on.")
_CHUNKS = flags.DEFINE_integer("chunks", 2, "Queries of an episode, of which there are thousands.")
_PER_SCENE = flags.DEFINE_integer("episodes_per_scene", 5, "Then another task's scene is built.")
_LINE_EVERY = 60.0  # s


def soak(index: int, seconds: float, chunks: int, per_scene: int, results) -> None:
    """One process: puts (index, episodes, scenes, first bytes, last bytes, equal) at its end."""
    from mist_jax.loading import load_policy
    from mist_jax.record.episode import EpisodeKey
    from mist_jax.rollout.acting.policy_actor import PolicyActor
    from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
    from mist_jax.rollout.worker import Worker

    policy = load_policy("mist-nano", verify=False)
    actor = PolicyActor(policy, 1, sites=("llm.resid",))
    config = WorkerConfig("lite", policy.identity, preprocessor=policy.preprocessor)
    worker = Worker(config)

    def begin(task: int, state: int) -> list[np.ndarray]:
        """What the policy saw and said in an episode's beginning."""
        turn = worker.start(EpisodeSpec(EpisodeKey("libero_spatial", task, state, 0)))
        kept = []
        for query in range(chunks):
            assert turn.inputs is not None
            [answer] = actor.answer([turn], [query])
            kept += [turn.inputs.images, answer.raw_actions, answer.activations["llm.resid"]]
            turn = worker.act(answer.chunk)
        return kept

    first = begin(index % 10, 0)
    began = told = time.monotonic()
    before, episodes, scenes = _resident(), 1, 1
    while (now := time.monotonic()) - began < seconds:
        scenes += episodes % per_scene == 0
        begin((index + scenes) % 10, episodes % 50)
        episodes += 1
        if index == 0 and now - told > _LINE_EVERY:
            told = now
            print(f"process 0: {episodes} episodes, {_resident() >> 20} MiB", flush=True)
    again = begin(index % 10, 0)
    equal = all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    worker.close()
    results.put((index, episodes + 1, scenes, before, _resident(), equal))


def _resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main(_: list[str]) -> None:
    """Starts the processes and says how they ended."""
    # Each of them would take most of the GPU's memory for itself.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    given = (_SECONDS.value, _CHUNKS.value, _PER_SCENE.value, results)
    processes = [
        context.Process(target=soak, args=(index, *given)) for index in range(_PROCESSES.value)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    ended = []
    while not results.empty():
        ended.append(results.get())
    died = [
        f"process {index}: status {process.exitcode}"
        for index, process in enumerate(processes)
        if process.exitcode
    ]
    unlike = [f"process {one[0]}: an episode is not the same again" for one in ended if not one[-1]]
    grown = max((one[4] - one[3] for one in ended), default=0) >> 20
    print(
        f"{len(ended)} of {len(processes)} processes ended well: {sum(one[1] for one in ended)} "
        f"episodes, {sum(one[2] for one in ended)} scenes built, {grown} MiB more at most"
    )
    print("\n".join(died + unlike), end="\n" if died or unlike else "")
    sys.exit(bool(died or unlike))


if __name__ == "__main__":
    app.run(main)
