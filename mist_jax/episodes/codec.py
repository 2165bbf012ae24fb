"""One episode as one record, and back: exact both ways, in the layout of `schema`."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.episodes.columns import Column, ColumnReader, ragged, texts, write_columns
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.schema import check_episode, picture_steps, rlds_camera
from mist_jax.quaternion import axis_angle
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey, Outcome
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps

_ACTION = len(ACTION_DIMENSIONS)
_OPTIONAL = ("risk", "gate", "latency", "expert")
_CONTACT_TEXTS = ("robot_body", "obstacle_body")
_CONTACT_FLAGS = ("grasped", "harmful", "onset")
_CONTACT_NUMBERS = ("peak_force", "impulse", "residual")
_CONTACT_VECTORS = {
    "position": 3,
    "normal": 3,
    "share": _ACTION,
    "velocity": _ACTION,
    "motion": _ACTION,
}


def encode_episode(episode: Episode, info: DatasetInfo) -> bytes:
    """The episode as a serialised `tf.train.Example`.

    Raises:
        ValueError: the episode does not fit `info`.
    """
    check_episode(episode, info)
    return write_columns(
        {
            **step_columns(episode),
            **_object_columns(episode),
            **_contact_columns(episode.contacts, len(episode.steps)),
            **_query_columns(episode.queries, info),
            **metadata_columns(episode),
            **_list_columns(episode, info),
            **picture_columns(episode, info),
        }
    )


def decode_episode(record: bytes, info: DatasetInfo, *, images: bool = False) -> Episode:
    """The inverse of `encode_episode`; camera pictures are left out unless `images`.

    Where there are no queries, `risk`, `gate`, `latency` and `expert` are None and the activations
    are empty arrays [0, L, D]. Float fields are float32, as stored.

    Raises:
        ValueError: the record is damaged or not one of such a dataset.
    """
    columns = ColumnReader(record)
    meta = "episode_metadata"
    objects = columns.texts(f"{meta}/object_names")
    pictures = _pictures(columns, info) if images else {}
    return Episode(
        key=EpisodeKey(
            suite=columns.text(f"{meta}/suite"),
            task_id=columns.integer(f"{meta}/task_id"),
            initial_state=columns.integer(f"{meta}/initial_state"),
            seed=columns.integer(f"{meta}/seed"),
            arm=columns.text(f"{meta}/arm"),
        ),
        instruction=columns.text(f"{meta}/instruction"),
        outcome=cast(Outcome, columns.text(f"{meta}/outcome")),
        max_steps=columns.integer(f"{meta}/max_steps"),
        assets=columns.text(f"{meta}/assets"),
        model=columns.text(f"{meta}/model"),
        perturbation=columns.text(f"{meta}/perturbation"),
        object_names=objects,
        steps=_steps(columns, len(objects), pictures),
        contacts=_contacts(columns),
        queries=_queries(columns, info, pictures),
        surplus=bool(columns.integer(f"{meta}/surplus")),
        error=columns.text(f"{meta}/error"),
    )


def picture_columns(episode: Episode, info: DatasetInfo) -> dict[str, Column]:
    """The camera pictures that `info` asks for; raises ValueError where they are others."""
    steps = picture_steps(episode, info)
    if info.images == "none":
        return {}
    prefix = "steps/observation" if info.images == "step" else "frames"
    columns: dict[str, Column] = {} if info.images == "step" else {"frames/step": steps}
    for camera in info.cameras:
        jpegs = [episode.steps.images[camera][step] for step in steps]
        columns[f"{prefix}/{rlds_camera(camera)}"] = jpegs
    return columns


def _pictures(columns: ColumnReader, info: DatasetInfo) -> dict[str, tuple[bytes, ...]]:
    """camera -> N JPEGs, b"" where none was kept; empty where there is no picture at all."""
    length = len(columns.bytes("steps/language_instruction"))
    if info.images == "none" or not length:
        return {}
    if info.images == "step":
        prefix, kept = "steps/observation", np.arange(length)
    else:
        prefix, kept = "frames", columns.array("frames/step", np.int32, -1)
    images = {}
    for camera in info.cameras if len(kept) else ():
        jpegs = [b""] * length
        stored = columns.bytes(f"{prefix}/{rlds_camera(camera)}")
        for step, jpeg in zip(kept, stored, strict=True):
            jpegs[step] = jpeg
        images[camera] = tuple(jpegs)
    return images


def _query_pictures(
    images: Mapping[str, tuple[bytes, ...]], steps: np.ndarray
) -> dict[str, tuple[bytes, ...]]:
    """The queries' share of the steps' pictures; empty unless every query has one."""
    if any(step >= len(jpegs) or not jpegs[step] for jpegs in images.values() for step in steps):
        return {}
    return {camera: tuple(jpegs[step] for step in steps) for camera, jpegs in images.items()}


def step_columns(episode: Episode) -> dict[str, Column]:
    """The columns of the steps that are rectangular: all but objects, contacts and pictures."""
    steps = episode.steps
    length = len(steps)
    angle = np.array([axis_angle(quat) for quat in steps.eef_quat]).reshape(length, 3)
    last = np.arange(length) == length - 1
    # A time limit cuts an episode; only success ends it.
    terminal = last & (episode.outcome == "success")
    return {
        "steps/observation/eef_pos": steps.eef_pos,
        "steps/observation/eef_quat": steps.eef_quat,
        "steps/observation/gripper_qpos": steps.gripper_qpos,
        "steps/observation/joint_state": steps.joint_pos,
        "steps/observation/state": np.hstack([steps.eef_pos, angle, steps.gripper_qpos]),
        "steps/action": steps.action,
        "steps/commanded": steps.commanded,
        "steps/perturbed": steps.perturbed,
        "steps/reward": steps.reward,
        "steps/discount": (~terminal).astype(np.float32),
        "steps/is_first": np.arange(length) == 0,
        "steps/is_last": last,
        "steps/is_terminal": terminal,
        "steps/language_instruction": texts([episode.instruction] * length),
        "steps/grasped": steps.grasped,
    }


def _object_columns(episode: Episode) -> dict[str, Column]:
    steps = episode.steps
    objects = np.full(len(steps), len(episode.object_names))
    return {
        **ragged("steps/objects/pose", steps.object_pose, objects),
        **ragged("steps/objects/displacement", steps.displacement, objects),
    }


def _steps(columns: ColumnReader, objects: int, images: Mapping[str, tuple[bytes, ...]]) -> Steps:
    action = columns.array("steps/action", np.float32, -1, _ACTION)
    length = len(action)

    def floats(name: str, *shape: int) -> np.ndarray:
        return columns.array(f"steps/{name}", np.float32, length, *shape)

    return Steps(
        action=action,
        commanded=floats("commanded", _ACTION),
        perturbed=columns.array("steps/perturbed", np.bool_, length),
        reward=floats("reward"),
        eef_pos=floats("observation/eef_pos", 3),
        eef_quat=floats("observation/eef_quat", 4),
        gripper_qpos=floats("observation/gripper_qpos", 2),
        joint_pos=floats("observation/joint_state", 7),
        object_pose=floats("objects/pose/ragged_flat_values", objects, 7),
        displacement=floats("objects/displacement/ragged_flat_values", objects),
        grasped=columns.array("steps/grasped", np.int32, length),
        images=images,
    )


def _contact_columns(contacts: Sequence[Contact], length: int) -> dict[str, Column]:
    # Stable: contacts of one step keep their order.
    ordered = sorted(contacts, key=lambda contact: contact.step)
    counts = np.bincount([contact.step for contact in ordered], minlength=length)
    values: dict[str, Column] = {}
    for name in _CONTACT_TEXTS:
        values[name] = texts([getattr(contact, name) for contact in ordered])
    for name in _CONTACT_FLAGS:
        values[name] = np.array([getattr(contact, name) for contact in ordered], np.bool_)
    for name in (*_CONTACT_NUMBERS, *_CONTACT_VECTORS):
        values[name] = np.array([getattr(contact, name) for contact in ordered], np.float32)
    columns: dict[str, Column] = {}
    for name, column in values.items():
        columns.update(ragged(f"steps/contacts/{name}", column, counts))
    return columns


def _contacts(columns: ColumnReader) -> tuple[Contact, ...]:
    def name_of(name: str) -> str:
        return f"steps/contacts/{name}/ragged_flat_values"

    counts = columns.array("steps/contacts/harmful/ragged_row_lengths_0", np.int64, -1)
    steps = np.repeat(np.arange(len(counts)), counts)
    fields: dict[str, Sequence] = {"step": steps.tolist()}
    for name in _CONTACT_TEXTS:
        fields[name] = columns.texts(name_of(name))
    for name in _CONTACT_FLAGS:
        fields[name] = columns.array(name_of(name), np.bool_, len(steps)).tolist()
    for name in _CONTACT_NUMBERS:
        fields[name] = columns.array(name_of(name), np.float32, len(steps)).tolist()
    for name, width in _CONTACT_VECTORS.items():
        fields[name] = list(columns.array(name_of(name), np.float32, len(steps), width))
    rows = zip(*fields.values(), strict=True)
    return tuple(Contact(**dict(zip(fields, row, strict=True))) for row in rows)


def _query_columns(queries: Queries, info: DatasetInfo) -> dict[str, Column]:
    length = len(queries)
    zeros = np.zeros((length, _ACTION), np.float32)
    no_labels = np.zeros((length, info.chunk, _ACTION), np.float32)
    gate = np.zeros((length, 0), np.float32) if queries.gate is None else queries.gate
    columns: dict[str, Column] = {
        "queries/step": queries.step,
        "queries/actions": queries.actions,
        "queries/expert": no_labels if queries.expert is None else queries.expert,
        "queries/risk": zeros if queries.risk is None else queries.risk,
        "queries/latency": zeros[:, 0] if queries.latency is None else queries.latency,
        **ragged("queries/gate", gate, np.full(length, gate.shape[1])),
    }
    for name, site in info.sites.items():
        shape = (length, len(site.layers), site.width)
        values = queries.activations[name] if length else np.zeros(shape)
        if values.shape != shape:
            raise ValueError(f"activations of {name} are {list(values.shape)}, not {list(shape)}")
        stored = _stored(values, info)
        columns[f"queries/activations/{name}"] = [row.tobytes() for row in stored]
    return columns


def _stored(values: np.ndarray, info: DatasetInfo) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = np.asarray(values, np.dtype(info.activation_dtype).newbyteorder("<"))
    if not np.array_equal(np.isfinite(stored), np.isfinite(values)):
        raise ValueError(
            f"activations up to {np.abs(values).max():.3g} do not fit {info.activation_dtype}; "
            "store them as float32"
        )
    return stored


def _queries(
    columns: ColumnReader, info: DatasetInfo, images: Mapping[str, tuple[bytes, ...]]
) -> Queries:
    step = columns.array("queries/step", np.int32, -1)
    length = len(step)
    fields = columns.texts("episode_metadata/query_fields") if length else ()
    stored = np.dtype(info.activation_dtype).newbyteorder("<")
    activations = {}
    for name, site in info.sites.items():
        joined = b"".join(columns.bytes(f"queries/activations/{name}"))
        values = np.frombuffer(joined, stored).astype(np.float32)
        activations[name] = values.reshape(length, len(site.layers), site.width)

    def optional(name: str, column: str, *shape: int) -> np.ndarray | None:
        return columns.array(column, np.float32, *shape) if name in fields else None

    return Queries(
        step=step,
        actions=columns.array("queries/actions", np.float32, length, info.chunk, _ACTION),
        activations=activations,
        layers={name: site.layers for name, site in info.sites.items()},
        expert=optional("expert", "queries/expert", length, info.chunk, _ACTION),
        risk=optional("risk", "queries/risk", length, _ACTION),
        gate=optional("gate", "queries/gate/ragged_flat_values", length, -1),
        latency=optional("latency", "queries/latency", length),
        images=_query_pictures(images, step),
    )


def metadata_columns(episode: Episode) -> dict[str, Column]:
    """The scalars of the episode's metadata."""
    values = {
        **vars(episode.key),
        "instruction": episode.instruction,
        "outcome": episode.outcome,
        "error": episode.error,
        "surplus": episode.surplus,
        "max_steps": episode.max_steps,
        "assets": episode.assets,
        "model": episode.model,
        "perturbation": episode.perturbation,
    }
    return {
        f"episode_metadata/{name}": texts([value]) if isinstance(value, str) else np.array([value])
        for name, value in values.items()
    }


def _list_columns(episode: Episode, info: DatasetInfo) -> dict[str, Column]:
    fields = [name for name in _OPTIONAL if getattr(episode.queries, name) is not None]
    columns: dict[str, Column] = {
        "episode_metadata/object_names": texts(episode.object_names),
        "episode_metadata/query_fields": texts(fields),
    }
    for name, site in info.sites.items():
        columns[f"episode_metadata/query_layers/{name}"] = np.array(site.layers, np.int32)
    return columns
