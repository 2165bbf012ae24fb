"""Samples of behaviour cloning: what a policy sees at a step, and what the expert does next.

A sample is one control step whose cameras were stored: every step of a demonstration, every query
of a DAgger rollout. Images are decoded and resized once and held as uint8.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.images import resize_lanczos3
from mist_jax.policy.preprocessing.proprio import read_proprio
from mist_jax.record.episode import Episode
from mist_jax.record.observation import CAMERAS, Observation
from mist_jax.record.picture import decode_picture
from mist_jax.simulator.libero.suites import load_task

LANDMARKS = 2  # the object to move and where it goes: the auxiliary target of training


@dataclass(frozen=True)
class CloningSamples:
    """M samples, one array per quantity, first axis M.

    `actions` are the next C expert actions as the environment takes them (gripper -1 open, +1
    close); an episode's last action is repeated past its end. `landmark` is the position of the
    task's objects of interest relative to the end effector, metres, world axes.
    """

    images: np.ndarray  # uint8 [M, I, H, W, 3], turned as stored, not cropped
    proprio: np.ndarray  # float32 [M, P], not normalised
    actions: np.ndarray  # float32 [M, C, A]
    landmark: np.ndarray  # float32 [M, LANDMARKS, 3]
    task: np.ndarray  # int32 [M], index into `instructions`
    instructions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class SampleSpec:
    """How samples are cut from episodes."""

    image_size: int
    chunk: int
    cameras: tuple[str, ...] = CAMERAS


def samples_of(episode: Episode, spec: SampleSpec) -> CloningSamples:
    """The samples of one episode.

    Raises:
        UserError: the episode holds no images to learn from.
    """
    if episode.queries.expert is not None:
        steps, images = episode.queries.step, episode.queries.images
        actions = episode.queries.expert
    else:
        steps, images = np.arange(len(episode.steps)), episode.steps.images
        actions = _chunks(episode.steps.commanded, spec.chunk)
    if not all(images.get(camera) for camera in spec.cameras):
        raise UserError(
            f"episode {episode.key} holds no camera images; collect it with --images=step"
        )
    return CloningSamples(
        images=_decode([images[camera] for camera in spec.cameras], spec.image_size),
        proprio=np.stack([_proprio(episode, step) for step in steps.tolist()]),
        actions=np.asarray(actions, np.float32),
        landmark=_landmarks(episode, steps),
        task=np.zeros(len(steps), np.int32),
        instructions=(episode.instruction,),
    )


def gather_samples(
    episodes: Iterable[Episode], spec: SampleSpec, workers: int
) -> list[CloningSamples]:
    """Samples of many episodes, cut in parallel processes (decoding images is the work)."""
    if workers <= 1:
        return [samples_of(episode, spec) for episode in episodes]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(partial(samples_of, spec=spec), episodes, chunksize=4))


def concatenate(parts: Sequence[CloningSamples]) -> CloningSamples:
    """One set of samples, its instructions sorted and without repetition."""
    if not parts:
        raise UserError("there are no episodes to learn from")
    instructions = tuple(sorted({text for part in parts for text in part.instructions}))
    place = {text: index for index, text in enumerate(instructions)}
    tasks = [np.asarray([place[t] for t in p.instructions], np.int32)[p.task] for p in parts]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(CloningSamples)
        if field.name not in ("task", "instructions")
    }
    return CloningSamples(**arrays, task=np.concatenate(tasks), instructions=instructions)


def _chunks(actions: np.ndarray, chunk: int) -> np.ndarray:
    """The next `chunk` actions at every step, the last one repeated past the end."""
    index = np.arange(len(actions))[:, None] + np.arange(chunk)[None, :]
    return actions[np.minimum(index, len(actions) - 1)]


def _decode(cameras: Sequence[Sequence[bytes]], size: int) -> np.ndarray:
    """Stored JPEGs [I][M] resized as the preprocessor does; they are turned as it turns renders."""

    def one(jpeg: bytes) -> np.ndarray:
        return resize_lanczos3(decode_picture(jpeg), size, size)

    return np.stack([[one(jpeg) for jpeg in frames] for frames in zip(*cameras, strict=True)])


def _proprio(episode: Episode, step: int) -> np.ndarray:
    steps = episode.steps
    seen = Observation(
        eef_pos=steps.eef_pos[step],
        eef_quat=steps.eef_quat[step],
        gripper_qpos=steps.gripper_qpos[step],
        joint_pos=steps.joint_pos[step],
    )
    return read_proprio(seen).astype(np.float32)


def _landmarks(episode: Episode, steps: np.ndarray) -> np.ndarray:
    """Objects of interest relative to the end effector; NaN for one that is not an object."""
    wanted = objects_of_interest(load_task(episode.key.suite, episode.key.task_id).bddl_file)
    found = np.full((len(steps), LANDMARKS, 3), np.nan, np.float32)
    for place, name in enumerate(wanted[:LANDMARKS]):
        if name in episode.object_names:
            position = episode.steps.object_pose[steps, episode.object_names.index(name), :3]
            found[:, place] = position - episode.steps.eef_pos[steps]
    return found


def objects_of_interest(bddl_file: Path) -> tuple[str, ...]:
    """The names in a BDDL file's `(:obj_of_interest ...)`."""
    _, _, rest = bddl_file.read_text(encoding="utf-8").partition("(:obj_of_interest")
    return tuple(rest.partition(")")[0].split())
