"""Control steps a second that so many simulators alone make of a host, with and without pictures.

    python -m tests.measuring.simulator_rate --num_workers=1,16,32

No policy is asked: every simulator acts at random in its own task, and begins again when an episode
ends. What an evaluation makes of the same host is to be set beside it.
"""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from absl import app, flags

from mist_jax.loading import load_policy
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker

_WORKERS = flags.DEFINE_list("num_workers", ["1", "2"], "Simulators that run at once.")
_ENV = flags.DEFINE_string("env", "libero_spatial_cluttered", "Suite.")
_SECONDS = flags.DEFINE_float("seconds", 6.0, "How long each is timed.")
_AS = flags.DEFINE_list("as", [], "For the processes that this one starts: number, time, pictures.")
_SECONDS_TO_START = 30.0


def simulate(number: int, begins: float, *, pictures: bool) -> dict[str, float]:
    """Steps, wall seconds and CPU seconds of one simulator from the time `begins` on."""
    policy = load_policy("mist-nano", verify=False)
    preprocessor: Any = policy.preprocessor if pictures else lambda observation, instruction: None
    config = WorkerConfig(
        assets="lite", model=policy.identity, render="fast", preprocessor=preprocessor
    )
    worker, rng = Worker(config), np.random.default_rng(number)
    if not pictures:
        observe = worker._observe
        worker._observe = lambda render: observe(False)
    spec = EpisodeSpec(EpisodeKey(_ENV.value, number % 10, 1200, 0))
    worker.start(spec)
    time.sleep(max(begins - time.time(), 0))
    steps, before, began = 0, time.process_time(), time.time()
    while time.time() < begins + _SECONDS.value:
        move = rng.uniform(-0.2, 0.2, (config.chunk, 6))
        chunk = np.concatenate([move, np.ones((config.chunk, 1))], axis=1).astype(np.float32)
        steps += config.chunk
        if worker.act(chunk).episode is not None:
            worker.start(spec)
    return {"steps": steps, "wall": time.time() - began, "cpu": time.process_time() - before}


def measure(count: int, *, pictures: bool) -> str:
    """One line on `count` simulators."""
    begins = time.time() + _SECONDS_TO_START * max(1.0, count / 16)
    command = [sys.executable, "-m", "tests.measuring.simulator_rate", f"--env={_ENV.value}"]
    asked = [f"--as={number},{begins},{int(pictures)}" for number in range(count)]
    running = [
        subprocess.Popen([*command, one, f"--seconds={_SECONDS.value}"], stdout=subprocess.PIPE)
        for one in asked
    ]
    found = [json.loads(one.communicate()[0].splitlines()[-1]) for one in running]
    rates = [one["steps"] / one["wall"] for one in found]
    busy = np.mean([one["cpu"] / one["wall"] for one in found])
    what = "with pictures" if pictures else "without pictures"
    return (
        f"{count} simulators {what}: {sum(rates):.0f} steps/s, {np.mean(rates):.1f} each, "
        f"{busy:.0%} of a core each"
    )


def main(_) -> None:
    """Prints a line for every number of simulators, with and without pictures."""
    if _AS.value:
        number, begins, pictures = _AS.value
        print(json.dumps(simulate(int(number), float(begins), pictures=pictures == "1")))
        return
    for count in map(int, _WORKERS.value):
        for pictures in (True, False):
            print(measure(count, pictures=pictures), flush=True)


if __name__ == "__main__":
    app.run(main)
