"""Episodes into their dataset."""

import dataclasses

from mist_jax.episodes.dataset_info import ImageMode
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.record.episode import Episode
from mist_jax.record.steps import Steps


class DatasetSink:
    """Stores every episode, with the pictures that the dataset keeps."""

    def __init__(self, writer: EpisodeWriter):
        self._writer = writer

    def put(self, episode: Episode) -> None:
        """Once this returns, no crash can lose the episode."""
        info = self._writer.info
        steps = thin_images(episode.steps, info.images, info.chunk)
        self._writer.append(dataclasses.replace(episode, steps=steps))


def thin_images(steps: Steps, rate: ImageMode, chunk: int) -> Steps:
    """The steps with the pictures that `rate` keeps, of those that there are."""
    if rate == "step" or not steps.images:
        return steps
    images = {
        camera: tuple(b"" if step % chunk else jpeg for step, jpeg in enumerate(jpegs))
        for camera, jpegs in steps.images.items()
    }
    return dataclasses.replace(steps, images=images if rate == "query" else {})
