"""One episode in RLDS form: the features that stock `tensorflow_datasets` reads.

tensorflow_datasets takes half a second to import, so it is imported where it is needed; TensorFlow
is never imported.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.record.episode import Episode

if TYPE_CHECKING:
    from tensorflow_datasets.core.features import FeaturesDict

# The names that tools for RLDS give to LIBERO's two cameras; others keep their own.
_RLDS_CAMERAS = {"agentview_image": "image", "robot0_eye_in_hand_image": "wrist_image"}
_ACTION = len(ACTION_DIMENSIONS)


def rlds_camera(camera: str) -> str:
    """The feature that holds the pictures of `camera`."""
    return _RLDS_CAMERAS.get(camera, camera)


def _array(*shape: int) -> Any:
    from tensorflow_datasets.core import features as tfds

    return tfds.Tensor(shape=shape, dtype=np.float32)


def _pictures(info: DatasetInfo) -> dict[str, Any]:
    from tensorflow_datasets.core import features as tfds

    shape = (info.camera_res, info.camera_res, 3)
    return {
        rlds_camera(camera): tfds.Image(shape=shape, encoding_format="jpeg")
        for camera in info.cameras
    }


def step_features(info: DatasetInfo) -> dict[str, Any]:
    """The features of one step that are rectangular: all but objects and contacts."""
    from tensorflow_datasets.core import features as tfds

    observation = {
        "eef_pos": _array(3),
        "eef_quat": _array(4),
        "gripper_qpos": _array(2),
        "joint_state": _array(7),
        "state": tfds.Tensor(
            shape=(8,),
            dtype=np.float32,
            doc="what the policy takes: eef position, axis-angle, both finger positions",
        ),
        **(_pictures(info) if info.images == "step" else {}),
    }
    return {
        "observation": observation,
        "action": _array(_ACTION),
        "commanded": _array(_ACTION),
        "perturbed": np.bool_,
        "reward": np.float32,
        "discount": np.float32,
        "is_first": np.bool_,
        "is_last": np.bool_,
        "is_terminal": np.bool_,
        "language_instruction": tfds.Text(),
        "grasped": np.int32,
    }


def metadata_features() -> dict[str, Any]:
    """The scalars of an episode's metadata."""
    from tensorflow_datasets.core import features as tfds

    return {
        "suite": tfds.Text(),
        "task_id": np.int64,
        "initial_state": np.int64,
        "seed": np.int64,
        "arm": tfds.Text(),
        "instruction": tfds.Text(),
        "outcome": tfds.Text(),
        "error": tfds.Text(),
        "surplus": np.bool_,
        "max_steps": np.int64,
        "assets": tfds.Text(),
        "model": tfds.Text(),
        "perturbation": tfds.Text(),
    }


def episode_features(info: DatasetInfo) -> "FeaturesDict":
    """The features of one episode of a dataset described by `info`."""
    from tensorflow_datasets.core import features as tfds

    def activations(layers: int, width: int) -> Any:
        dtype = np.dtype(info.activation_dtype).type
        return tfds.Tensor(shape=(layers, width), dtype=dtype, encoding="bytes")

    contact = {
        "robot_body": tfds.Text(),
        "obstacle_body": tfds.Text(),
        "grasped": np.bool_,
        "harmful": np.bool_,
        "onset": np.bool_,
        "peak_force": np.float32,
        "impulse": np.float32,
        "position": _array(3),
        "normal": _array(3),
        "share": _array(_ACTION),
        "velocity": _array(_ACTION),
        "motion": _array(_ACTION),
        "residual": np.float32,
    }
    steps = {
        **step_features(info),
        "objects": tfds.Sequence({"pose": _array(7), "displacement": np.float32}),
        "contacts": tfds.Sequence(contact),
    }
    queries = {
        "step": np.int32,
        "actions": _array(info.chunk, _ACTION),
        "expert": _array(info.chunk, _ACTION),
        "risk": _array(_ACTION),
        "gate": tfds.Sequence(np.float32),
        "latency": np.float32,
    }
    if info.sites:
        queries["activations"] = {
            name: activations(len(site.layers), site.width) for name, site in info.sites.items()
        }
    metadata = {
        **metadata_features(),
        "object_names": tfds.Sequence(tfds.Text()),
        "query_fields": tfds.Sequence(
            tfds.Text(), doc="which of risk, gate, latency and expert were recorded; else zeros"
        ),
    }
    if info.sites:
        metadata["query_layers"] = {name: tfds.Sequence(np.int32) for name in info.sites}
    features = {
        "steps": tfds.Dataset(steps),
        "queries": tfds.Dataset(queries),
        "episode_metadata": metadata,
    }
    if info.images == "query":
        features["frames"] = tfds.Dataset({"step": np.int32, **_pictures(info)})
    return tfds.FeaturesDict(features)


def check_episode(episode: Episode, info: DatasetInfo) -> None:
    """Makes sure that the episode is one of the dataset that `info` describes.

    Raises:
        ValueError: it is not; the message says where they differ.
    """
    steps, queries = episode.steps, episode.queries
    sites = {name: site.layers for name, site in info.sites.items()}
    layers = {name: tuple(layers) for name, layers in queries.layers.items()}
    claims = {
        "model": (episode.model, info.model),
        "assets": (episode.assets, info.assets),
        "number of object names": (len(episode.object_names), steps.object_pose.shape[1]),
    }
    if len(queries):
        claims["layers of the sites"] = (layers, sites)
        claims["sites"] = (set(queries.activations), set(sites))
    for what, (is_, should) in claims.items():
        if is_ != should:
            raise ValueError(f"episode {episode.key}: {what} is {is_!r}, the dataset's {should!r}")
    outside = [c.step for c in episode.contacts if not 0 <= c.step < len(steps)]
    if outside:
        raise ValueError(
            f"episode {episode.key}: contacts at steps {outside} of {len(steps)} steps"
        )


def picture_steps(episode: Episode, info: DatasetInfo) -> np.ndarray:
    """The steps, int32 [M], of which the dataset keeps every camera's picture.

    Raises:
        ValueError: the episode's pictures are not those that `info.images` asks for.
    """
    steps, queries = episode.steps, episode.queries
    kept = {name: np.array([bool(jpeg) for jpeg in jpegs]) for name, jpegs in steps.images.items()}
    if not kept and (info.images != "step" or not len(steps)):
        found = np.zeros(0, np.int32)
    elif info.images == "none" or set(kept) != set(info.cameras):
        raise ValueError(
            f"episode {episode.key}: pictures of {sorted(kept)}, but the dataset keeps images="
            f"{info.images} of {sorted(info.cameras)}"
        )
    else:
        first = kept[info.cameras[0]]
        if any(len(mask) != len(steps) or (mask != first).any() for mask in kept.values()):
            raise ValueError(f"episode {episode.key}: the cameras' pictures are of unequal steps")
        if info.images == "step" and not first.all():
            raise ValueError(f"episode {episode.key}: not every step has a picture")
        found = np.flatnonzero(first).astype(np.int32)
    for name, jpegs in queries.images.items():
        if name not in kept or jpegs != tuple(steps.images[name][step] for step in queries.step):
            raise ValueError(f"episode {episode.key}: the queries' pictures are not their steps'")
    return found
