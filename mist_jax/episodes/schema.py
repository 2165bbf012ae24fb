"""One episode in RLDS form: the features that stock `tensorflow_datasets` reads.

tensorflow_datasets takes half a second to import, so it is imported where it is needed; TensorFlow
is never imported.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.record import Episode

if TYPE_CHECKING:
    from tensorflow_datasets.core.features import FeaturesDict

# The names that tools for RLDS give to LIBERO's two cameras; others keep their own.
_RLDS_CAMERAS = {"agentview_image": "image", "robot0_eye_in_hand_image": "wrist_image"}
_ACTION = len(ACTION_DIMENSIONS)


def rlds_camera(camera: str) -> str:
    """The feature that holds the pictures of `camera`."""
    return _RLDS_CAMERAS.get(camera, camera)


def episode_features(info: DatasetInfo) -> "FeaturesDict":
    """The features of one episode of a dataset described by `info`."""
    from tensorflow_datasets.core import features as tfds

    def array(*shape: int) -> Any:
        return tfds.Tensor(shape=shape, dtype=np.float32)

    def pictures() -> dict[str, Any]:
        shape = (info.camera_res, info.camera_res, 3)
        return {
            rlds_camera(camera): tfds.Image(shape=shape, encoding_format="jpeg")
            for camera in info.cameras
        }

    def activations(site_layers: int, width: int) -> Any:
        dtype = np.dtype(info.activation_dtype).type
        return tfds.Tensor(shape=(site_layers, width), dtype=dtype, encoding="bytes")

    observation = {
        "eef_pos": array(3),
        "eef_quat": array(4),
        "gripper_qpos": array(2),
        "joint_state": array(7),
        "state": tfds.Tensor(
            shape=(8,),
            dtype=np.float32,
            doc="what the policy takes: eef position, axis-angle, both finger positions",
        ),
        **(pictures() if info.images == "step" else {}),
    }
    contact = {
        "robot_body": tfds.Text(),
        "obstacle_body": tfds.Text(),
        "grasped": np.bool_,
        "harmful": np.bool_,
        "onset": np.bool_,
        "peak_force": np.float32,
        "impulse": np.float32,
        "position": array(3),
        "normal": array(3),
        "share": array(_ACTION),
        "velocity": array(_ACTION),
        "residual": np.float32,
    }
    steps = {
        "observation": observation,
        "action": array(_ACTION),
        "commanded": array(_ACTION),
        "perturbed": np.bool_,
        "reward": np.float32,
        "discount": np.float32,
        "is_first": np.bool_,
        "is_last": np.bool_,
        "is_terminal": np.bool_,
        "language_instruction": tfds.Text(),
        "grasped": np.int32,
        "objects": tfds.Sequence({"pose": array(7), "displacement": np.float32}),
        "contacts": tfds.Sequence(contact),
    }
    queries = {
        "step": np.int32,
        "actions": array(info.chunk, _ACTION),
        "risk": array(_ACTION),
        "gate": tfds.Sequence(np.float32),
        "latency": np.float32,
        **(pictures() if info.images == "query" else {}),
    }
    if info.sites:
        queries["activations"] = {
            name: activations(len(site.layers), site.width) for name, site in info.sites.items()
        }
    metadata = {
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
        "object_names": tfds.Sequence(tfds.Text()),
        "query_fields": tfds.Sequence(tfds.Text()),
    }
    if info.sites:
        metadata["query_layers"] = {name: tfds.Sequence(np.int32) for name in info.sites}
    return tfds.FeaturesDict(
        {
            "steps": tfds.Dataset(steps),
            "queries": tfds.Dataset(queries),
            "episode_metadata": metadata,
        }
    )


def check_episode(episode: Episode, info: DatasetInfo) -> None:
    """Makes sure that the episode is one of the dataset that `info` describes.

    Raises:
        ValueError: it is not; the message says where they differ.
    """
    steps, queries = episode.steps, episode.queries
    sites = {name: site.layers for name, site in info.sites.items()}
    layers = {name: tuple(layers) for name, layers in queries.layers.items()}
    cameras = set(info.cameras)
    claims = {
        "model": (episode.model, info.model),
        "assets": (episode.assets, info.assets),
        "number of object names": (len(episode.object_names), steps.object_pose.shape[1]),
        "step cameras": (set(steps.images), cameras if info.images == "step" else set()),
    }
    if len(queries):
        claims["layers of the sites"] = (layers, sites)
        claims["sites"] = (set(queries.activations), set(sites))
        claims["query cameras"] = (
            set(queries.images),
            cameras if info.images == "query" else set(),
        )
    for what, (is_, should) in claims.items():
        if is_ != should:
            raise ValueError(f"episode {episode.key}: {what} is {is_!r}, the dataset's {should!r}")
    pictures = [(jpegs, len(steps)) for jpegs in steps.images.values()]
    pictures += [(jpegs, len(queries)) for jpegs in queries.images.values()]
    if any(len(jpegs) != count for jpegs, count in pictures):
        raise ValueError(f"episode {episode.key}: a camera has not one picture per step or query")
    outside = [c.step for c in episode.contacts if not 0 <= c.step < len(steps)]
    if outside:
        raise ValueError(
            f"episode {episode.key}: contacts at steps {outside} of {len(steps)} steps"
        )
