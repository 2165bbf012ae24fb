"""Control steps a second that simulators and a policy of random weights make together of a host.

    python -m tests.measuring.evaluation_rate --preset=openvla-oft-7b --num_workers=16,32

What an evaluation does, but for what it writes: simulators preprocess pictures, the policy answers
in batches, a risk head reads every query, and a push at one layer is in the program. Random weights
act at random, so that episodes last until their time is out. Published evaluations of OpenVLA-OFT
make 27 control steps a second on one H100 (allenai/vla-evaluation-harness).
"""

import time
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags

from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.benchmark.modes import intervention_of
from mist_jax.benchmark.random_weights import random_parameters
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.loading import MIST_NANO_FOLDER
from mist_jax.policy.architectures import PRESETS
from mist_jax.policy.checkpoint import STATISTICS, TOKENIZER, PolicyCard
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import Preprocessor
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.acting.arm import Controller
from mist_jax.rollout.acting.policy_actor import PolicyActor, PolicyAnswer
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run
from mist_jax.rollout.source import Listed
from mist_jax.signed import MOTIONS

_PRESET = flags.DEFINE_enum("preset", "mist-nano", tuple(PRESETS), "Architecture.")
_DTYPE = flags.DEFINE_string("dtype", None, "Default: float32 on a CPU, else bfloat16.")
_WORKERS = flags.DEFINE_list("num_workers", ["2"], "Simulators; several numbers, one by one.")
_BATCH = flags.DEFINE_integer("batch_size", 8, "Questions of one call.")
_SECONDS = flags.DEFINE_float("seconds", 40.0, "How long, from when every simulator was asked.")
_ENV = flags.DEFINE_string("env", "libero_spatial", "Suite.")


def random_policy(preset: str, dtype: str) -> Policy:
    """The architecture at random weights, with mist-nano's statistics and tokenizer."""
    model = PRESETS[preset]
    parameters = random_parameters(model, dtype, DeviceLayout.of(jax.devices()[:1]))
    preprocessor = Preprocessor.of(
        model.preprocessing, MIST_NANO_FOLDER / STATISTICS, MIST_NANO_FOLDER / TOKENIZER
    )
    return Policy(PolicyCard(f"random-{preset}", model, dtype, "0" * 64), parameters, preprocessor)


def controller(policy: Policy, batch: int) -> Controller:
    """A risk head that reads every query and a push that no row opens, as an unsteered arm has."""
    site = policy.steerable
    made = intervention_of(policy.model, site, batch, "causal")
    assert made is not None
    [push] = made.operators
    assert isinstance(push, CausalPush)
    layers, width = policy.layers, policy.sites[site].width
    return Controller(
        vectors=np.zeros((0, layers, width), np.float32),
        gates=np.zeros((0, MOTIONS), np.float32),
        risk_head=made.risk_head,
        site=site,
        pushes={"mist": push},
    )


class _TimeIsOutError(Exception):
    """Ends a run."""


class TimedActor(PolicyActor):
    """Counts what it answers, from when it has heard all of `workers` simulators, for `seconds`."""

    def __init__(self, policy: Policy, batch: int, workers: int, seconds: float):
        super().__init__(policy, batch, controller=controller(policy, batch))
        self.workers, self.seconds = workers, seconds
        self.asked, self.calls, self.answering, self.began = 0, 0, 0.0, 0.0
        self._heard: set[EpisodeKey] = set()

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[PolicyAnswer]:
        """As ever; raises _TimeIsOutError when the time is over."""
        entered = time.perf_counter()
        if self.began and entered > self.began + self.seconds:
            raise _TimeIsOutError
        answers = super().answer(turns, queries)
        left = time.perf_counter()
        if self.began:
            self.asked += len(turns)
            self.calls += 1
            self.answering += left - entered
        self._heard.update(turn.key for turn in turns)
        if not self.began and len(self._heard) >= self.workers:
            self.began = left
        return answers


def measure(policy: Policy, workers: int) -> str:
    """One line."""
    actor = TimedActor(policy, _BATCH.value, workers, _SECONDS.value)
    config = WorkerConfig("lite", policy.identity, render="fast", preprocessor=policy.preprocessor)
    keys = [EpisodeKey(_ENV.value, i % 10, i // 10 % 50, i // 500) for i in range(5000)]

    class Nothing:
        def put(self, episode: Episode) -> None:
            pass

    try:
        with Fleet(config, workers) as fleet:
            run(Listed(map(EpisodeSpec, keys)), fleet, actor, [Nothing()])
    except _TimeIsOutError:
        pass
    seconds = time.perf_counter() - actor.began
    return (
        f"{policy.card.name} in {policy.card.dtype}, {workers} simulators, batches of "
        f"{_BATCH.value}: {actor.asked * policy.model.chunk / seconds:.0f} control steps/s, "
        f"{actor.asked / seconds:.1f} questions/s, {actor.asked / actor.calls:.1f} of them a call, "
        f"{1e3 * actor.answering / actor.calls:.0f} ms a call, "
        f"policy busy {actor.answering / seconds:.0%}"
    )


def main(_: list[str]) -> None:
    """Prints a line for every number of simulators."""
    dtype = _DTYPE.value or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    policy = random_policy(_PRESET.value, dtype)
    for workers in map(int, _WORKERS.value):
        print(measure(policy, workers), flush=True)


if __name__ == "__main__":
    app.run(main)
