"""One episode in RLDS form: the features that stock `tensorflow_datasets` reads.

They follow from the columns that the records declare. Pictures are in the form of every public
LIBERO dataset, `[::-1, ::-1]` of the render (`record/picture.py`). tensorflow_datasets takes half a
second to import, so it is imported where it is needed; TensorFlow is never imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.rlds import RLDSSteps, rlds_camera
from mist_jax.record.column import Column, columns_of
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.picture import STORED_FORM
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps

if TYPE_CHECKING:
    from tensorflow_datasets.core.features import FeaturesDict


@dataclass(frozen=True)
class Records:
    """The classes of which an episode is made; their columns are the stored form."""

    episode: type[Episode] = Episode
    key: type[EpisodeKey] = EpisodeKey
    steps: type[Steps] = Steps
    contact: type[Contact] = Contact
    queries: type[Queries] = Queries

    def metadata(self, *, ragged: bool = True) -> dict[str, Column]:
        """The columns of one episode as a whole; the scalars alone unless `ragged`."""
        key, episode = (columns_of(one, ragged=ragged) for one in (self.key, self.episode))
        return {**key, **episode}


RECORDS = Records()


def episode_features(info: DatasetInfo, records: Records = RECORDS) -> "FeaturesDict":
    """The features of one episode of a dataset described by `info`."""
    from tensorflow_datasets.core import features as tfds

    sizes = {"C": info.chunk}
    contact = features_of(columns_of(records.contact), sizes)
    steps = _merged(
        step_features(info, records),
        features_of(columns_of(records.steps), sizes),
        {"contacts": tfds.Sequence(contact)},
    )
    queries = features_of(columns_of(records.queries), sizes)
    metadata = {
        **features_of(records.metadata(), sizes),
        "query_fields": tfds.Sequence(
            tfds.Text(), doc="which of the queries' optional fields were recorded; else zeros"
        ),
    }
    if info.sites:
        dtype = np.dtype(info.activation_dtype).type
        queries["activations"] = {
            name: tfds.Tensor(shape=(len(site.layers), site.width), dtype=dtype, encoding="bytes")
            for name, site in info.sites.items()
        }
        metadata["query_layers"] = {name: tfds.Sequence(np.int32) for name in info.sites}
    features = {
        "steps": tfds.Dataset(steps),
        "queries": tfds.Dataset(queries),
        "episode_metadata": metadata,
    }
    if info.images == "query":
        features["frames"] = tfds.Dataset({"step": np.int32, **_pictures(info)})
    return tfds.FeaturesDict(features)


def step_features(info: DatasetInfo, records: Records = RECORDS) -> dict[str, Any]:
    """The features of one step that are rectangular: all but objects and contacts."""
    sizes = {"C": info.chunk}
    pictures = {"observation": _pictures(info)} if info.images == "step" else {}
    return _merged(
        features_of(columns_of(records.steps, ragged=False), sizes),
        features_of(columns_of(RLDSSteps), sizes),
        pictures,
    )


def metadata_features(records: Records = RECORDS) -> dict[str, Any]:
    """The scalars of an episode's metadata."""
    return features_of(records.metadata(ragged=False), {})


def features_of(columns: Mapping[str, Column], sizes: Mapping[str, int]) -> dict[str, Any]:
    """One feature per column, nested as their names are; `sizes` gives the axes' lengths."""
    from tensorflow_datasets.core import features as tfds

    features: dict[str, Any] = {}
    for column in columns.values():
        *outer, name = column.name.split("/")
        group = features
        for part in outer:
            group = group.setdefault(part, {})
        shape = column.shape(sizes)[column.ragged :]
        if column.dtype is str:
            feature = tfds.Text(doc=column.doc)
        else:
            feature = tfds.Tensor(shape=shape, dtype=column.dtype, doc=column.doc)
        group[name] = tfds.Sequence(feature) if column.ragged else feature
    return features


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


def _pictures(info: DatasetInfo) -> dict[str, Any]:
    from tensorflow_datasets.core import features as tfds

    shape = (info.camera_res, info.camera_res, 3)
    return {
        rlds_camera(camera): tfds.Image(shape=shape, encoding_format="jpeg", doc=STORED_FORM)
        for camera in info.cameras
    }


def _merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries as one; what both have as a dictionary is merged too."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            there = whole.get(name)
            whole[name] = _merged(there, value) if isinstance(there, dict) else value
    return whole
