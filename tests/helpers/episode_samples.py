"""Random episodes that fit a dataset, for the tests of storage."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.record.contact import Contact
from mist_jax.record.episode import OUTCOMES, Episode, EpisodeKey
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps

INFO = DatasetInfo(
    model="nano-1234",
    assets="lite",
    suites=("libero_spatial",),
    sites={"llm.resid": Site((1, 3, 5), 6), "vision": Site((0,), 4)},
    camera_res=16,
)


def random_episode(
    info: DatasetInfo = INFO,
    seed: int = 0,
    *,
    steps: int = 12,
    queries: int = 2,
    objects: int = 3,
    contacts: int = 4,
    optional: bool = True,
    instruction: str = "pick up the bowl",
    task: int = 0,
) -> Episode:
    """An episode of random numbers in the canonical form that the reader gives back."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    asked = np.sort(rng.choice(steps, queries, replace=False)).astype(np.int32)
    kept = {"none": set(), "query": set(asked.tolist()), "step": set(range(steps))}[info.images]
    images = {
        camera: tuple(_jpeg(rng, info.camera_res) if i in kept else b"" for i in range(steps))
        for camera in (info.cameras if kept else ())
    }
    optional = optional and queries > 0
    layers = {name: site.layers for name, site in info.sites.items()}
    return Episode(
        key=EpisodeKey("libero_spatial", task, 7, seed),
        instruction=instruction,
        outcome=OUTCOMES[rng.integers(3)],  # pyright: ignore[reportArgumentType]
        max_steps=220,
        assets=info.assets,
        model=info.model,
        perturbation="noop(3)",
        object_names=tuple(f"bowl_{i}" for i in range(objects)),
        steps=Steps(
            action=floats(steps, 7),
            commanded=floats(steps, 7),
            perturbed=floats(steps) > 0,
            reward=floats(steps),
            eef_pos=floats(steps, 3),
            eef_quat=np.clip(floats(steps, 4), -1, 1),
            gripper_qpos=floats(steps, 2),
            joint_pos=floats(steps, 7),
            object_pose=floats(steps, objects, 7),
            displacement=floats(steps, objects),
            grasped=rng.integers(-1, max(objects, 1), steps).astype(np.int32),
            images=images,
        ),
        contacts=tuple(
            _contact(rng, step) for step in np.sort(rng.integers(0, steps, contacts)).tolist()
        )
        if steps
        else (),
        queries=Queries(
            step=asked,
            raw_actions=floats(queries, info.chunk, 7),
            activations={
                name: floats(queries, len(site.layers), site.width)
                for name, site in info.sites.items()
            },
            layers=layers,
            risk=floats(queries, 14) if optional else None,
            gate=floats(queries, 5) if optional else None,
            latency=floats(queries) if optional else None,
            expert=floats(queries, info.chunk, 7) if optional else None,
            edited=floats(queries) > 0 if optional else None,
            images={name: tuple(jpegs[i] for i in asked) for name, jpegs in images.items()},
        ),
        surplus=bool(rng.integers(2)),
        error="RuntimeError: ünstable",
    )


def filmed_episode(steps: int = 6, **changes) -> Episode:
    """A success without contacts or risk, whose camera saw one picture all the time.

    The picture is black but for a green corner: stored mirrored, it belongs to the lower right.
    """
    one = random_episode(dataclasses.replace(INFO, camera_res=32), steps=steps, contacts=0)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[-8:, :8, 1] = 255
    jpeg = simplejpeg.encode_jpeg(picture, quality=95)
    seen = {"agentview": (jpeg,) * steps}
    return dataclasses.replace(
        one,
        steps=dataclasses.replace(one.steps, images=seen, perturbed=np.zeros(steps, bool)),
        queries=dataclasses.replace(one.queries, risk=None, gate=None, edited=None),
        outcome="success",
        **changes,
    )


def assert_equal(one: object, other: object, where: str = "episode") -> None:
    """Bit-for-bit equality of records, dtypes and shapes included."""
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray), where
        assert one.dtype == other.dtype, where
        assert one.shape == other.shape, where
        assert one.tobytes() == other.tobytes(), where
        return
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys(), where
        for name, value in one.items():
            assert_equal(value, other[name], f"{where}.{name}")
    elif isinstance(one, tuple):
        assert isinstance(other, tuple)
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{index}]")
    elif hasattr(one, "__dict__"):
        assert_equal(vars(one), vars(other), where)
    else:
        assert one == other, where


def shards_of(directory: Path) -> list[Path]:
    """The shard files of a dataset."""
    return sorted(directory.glob("*.array_record"))


def _contact(rng: np.random.Generator, step: int) -> Contact:
    def floats(count: int) -> np.ndarray:
        return rng.standard_normal(count).astype(np.float32)

    return Contact(
        step=step,
        robot_body=f"robot0_link{rng.integers(3)}",
        obstacle_body=["table", "plate_1_main"][rng.integers(2)],
        grasped=bool(rng.integers(2)),
        harmful=bool(rng.integers(2)),
        onset=bool(rng.integers(2)),
        peak_force=float(np.float32(rng.exponential(20))),
        impulse=float(np.float32(rng.exponential())),
        position=floats(3),
        normal=floats(3),
        share=np.clip(floats(7), 0, 1),
        velocity=floats(7),
        motion=floats(7),
        residual=float(floats(1)[0]),
    )


def _jpeg(rng: np.random.Generator, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(buffer, "jpeg")
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock, by its path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
