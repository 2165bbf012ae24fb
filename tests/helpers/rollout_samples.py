"""Parts for the tests of rollouts: a tiny policy on disk, and workers that misbehave on order."""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np

from mist_jax.errors import UserError
from mist_jax.policy.checkpoint import PolicyCard, save_policy
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.observation import Observation
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn, WorkerConfig
from mist_jax.rollout.recording import Recording
from mist_jax.rollout.worker import no_queries
from mist_jax.simulator.libero.suites import load_suite
from mist_jax.training.tokenizer import write_tokenizer
from tests.helpers.tiny import TINY, tiny_parameters

WELL, DIES_ONCE, HANGS_ONCE, RAISES, USER_ERROR, RAISES_ONCE = range(6)  # by seed
TURNS = 3
LONG_PROMPT, NOT_A_NUMBER = 6, 13  # by initial state
SMALL = dataclasses.replace(TINY, vocab_size=400, prompt_capacity=38)


def save_tiny_policy(folder: Path, seed: int = 0) -> PolicyCard:
    """Random parameters in the real architecture, in the form `--model_name` takes."""
    instructions = [task.language for task in load_suite("libero_spatial")]
    tokenizer = folder.with_name(f"{folder.name}-tokenizer.json")
    write_tokenizer(tokenizer, instructions, SMALL.vocab_size)
    bounds = {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 6 + [False]}
    proprio = {"q01": [-2.0] * 8, "q99": [2.0] * 8}
    return save_policy(
        folder,
        name="tiny",
        model=OpenVLAOFTModel(SMALL),
        parameters=tiny_parameters(SMALL, seed),
        statistics={"made_up": {"action": bounds, "proprio": proprio}},
        tokenizer=tokenizer,
        provenance={},
    )


def spec(seed: int = WELL, state: int = 0) -> EpisodeSpec:
    return EpisodeSpec(EpisodeKey("libero_spatial", 0, state, seed))


def inputs_of(key: EpisodeKey, step: int) -> PolicyInputs:
    rng = np.random.default_rng([key.initial_state, step])
    words = 45 if key.initial_state == LONG_PROMPT else 4 + key.initial_state % 5
    broken = key.initial_state == NOT_A_NUMBER and step > 0
    return PolicyInputs(
        images=rng.integers(0, 256, (2, SMALL.image_size, SMALL.image_size, 3), np.uint8),
        proprio=rng.uniform(-1, 1, 8).astype(np.float32) * (np.nan if broken else 1),
        token_ids=np.array([1, *rng.integers(4, 60, words), 5], np.int32),
        prompt="",
    )


class ScriptedWorker:
    """Three turns an episode; how it fails is the key's seed, and `model` names a folder in which
    it counts its starts.
    """

    def __init__(self, config: WorkerConfig):
        self._folder = Path(config.model)

    def ready(self) -> bool:
        return True

    def start(self, spec: EpisodeSpec) -> Turn:
        if spec.key.seed == USER_ERROR:
            raise UserError("there is no such thing")
        self._key, self._turns, self._chunks, self._begins = spec.key, 0, [], spec.begins
        starts = self._folder / f"{spec.key.initial_state}-{spec.key.seed}"
        with starts.open("a") as log:
            log.write(f"{os.getpid()}\n")
        self._first = starts.read_text().count("\n") == 1
        time.sleep(0.02 * (spec.key.initial_state % 4))
        return Turn(spec.key, spec.begins, inputs=inputs_of(spec.key, spec.begins))

    def act(self, chunk: np.ndarray | None) -> Turn:
        key, self._turns = self._key, self._turns + 1
        if chunk is not None:
            self._chunks.append(chunk)
        if self._turns == 2:
            if key.seed == DIES_ONCE and self._first:
                os._exit(1)
            if key.seed == HANGS_ONCE and self._first:
                time.sleep(3600)
            if key.seed == RAISES or (key.seed == RAISES_ONCE and self._first):
                raise RuntimeError("the simulation is unstable")
        if self._turns < TURNS:
            step = self._begins + 8 * self._turns
            return Turn(key, step, inputs=inputs_of(key, step))
        recording = Recording(())
        observation = Observation(
            eef_pos=np.zeros(3),
            eef_quat=np.zeros(4),
            gripper_qpos=np.zeros(2),
            joint_pos=np.zeros(7),
        )
        for row in np.concatenate(self._chunks) if self._chunks else np.zeros((24, 7)):
            recording.add(
                observation,
                keep_images=False,
                action=row,
                commanded=row,
                perturbed=False,
                reward=0.0,
                displacement=np.zeros(0),
                grasped=-1,
            )
        episode = Episode(
            key=key,
            instruction="pick up the bowl",
            outcome="failure",
            max_steps=24,
            assets="lite",
            model="scripted",
            perturbation="none",
            object_names=(),
            steps=recording.steps(),
            contacts=(),
            queries=no_queries(8),
        )
        return Turn(key, 24, episode=episode)


def run_here(worker, one: EpisodeSpec, chunk: np.ndarray | None = None) -> Episode:
    """One whole episode in this process; every turn executes `chunk`."""
    answer = worker.start(one)
    while answer.episode is None:
        answer = worker.act(chunk)
    return answer.episode
