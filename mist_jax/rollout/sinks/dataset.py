"""Episodes into their dataset."""

import dataclasses

from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.record.episode import Episode
from mist_jax.rollout.recording import thin_images


class DatasetSink:
    """Stores every episode, with the pictures that the dataset keeps."""

    def __init__(self, writer: EpisodeWriter):
        self._writer = writer

    def put(self, episode: Episode) -> None:
        """Once this returns, no crash can lose the episode."""
        info = self._writer.info
        steps = thin_images(episode.steps, info.images, info.chunk)
        self._writer.append(dataclasses.replace(episode, steps=steps))
