"""States and episodes of a tiny policy with pictures that were made up."""

import dataclasses

import numpy as np

from mist_jax.policy.policy import Policy
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.observation import CAMERAS
from mist_jax.record.picture import encode_picture
from mist_jax.steering.causal.states import CausalStates
from tests.helpers.synthetic_episodes import episode
from tests.helpers.tiny import tiny_policy_inputs

QUERIES = 3
LONGEST = 40


def made_up_states(policy: Policy, scenes: int = 10, tasks: int = 2) -> CausalStates:
    """QUERIES states of each scene, at steps 0, 8, 16 of LONGEST; scene s is of task s % tasks."""
    scene = np.repeat(np.arange(scenes), QUERIES)
    inputs = [
        one
        for first in range(scenes)
        for one in tiny_policy_inputs(QUERIES, seed=first)  # prompts of 6, 7 and 8 tokens
    ]
    steps = np.tile(np.arange(QUERIES, dtype=np.int32) * 8, scenes)
    raw = np.zeros((len(inputs), policy.model.chunk, policy.model.action_dim), np.float32)
    return CausalStates(
        inputs=tuple(inputs),
        instruction=np.asarray([f"task {s % tasks}" for s in scene]),
        scene=scene,
        key=np.asarray([("made up", s % tasks, s) for s in scene], str),
        step=steps,
        max_steps=np.full(len(inputs), LONGEST, np.int32),
        raw_actions=raw,
    )


def pictured_episode(
    scene: int, length: int = 24, *, model: str, side: int, arm: str = "none", seed: int = 0
) -> Episode:
    """An episode whose every query has pictures (`render_of`), of task `scene` % 2."""
    made = episode([], length=length, task=scene % 2, state=scene, model=model)
    rng = np.random.default_rng(seed)
    asked = made.queries.step.tolist()
    jpegs = {
        camera: tuple(encode_picture(render_of(side, q, k)) for q in range(len(asked)))
        for k, camera in enumerate(CAMERAS)
    }
    stored = {
        camera: tuple(some[asked.index(s)] if s in asked else b"" for s in range(length))
        for camera, some in jpegs.items()
    }
    steps = dataclasses.replace(
        made.steps,
        eef_pos=rng.normal(size=(length, 3)).astype(np.float32),
        gripper_qpos=rng.normal(size=(length, 2)).astype(np.float32) * 0.02,
        images=stored,
    )
    return dataclasses.replace(
        made,
        key=EpisodeKey("libero_spatial", scene % 2, scene, 0, arm),
        steps=steps,
        queries=dataclasses.replace(made.queries, images=jpegs),
    )


def render_of(side: int, query: int, camera: int) -> np.ndarray:
    """What camera number `camera` renders at a query: smooth, so that JPEG hardly changes it."""
    ramp = np.linspace(0, 200, side * side * 3).reshape(side, side, 3)
    return (ramp + 10 * query + camera).astype(np.uint8)
