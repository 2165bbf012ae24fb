"""Which episodes become videos, and where those lie."""

from pathlib import Path
from typing import Literal

from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.observation import AGENT_CAMERA
from mist_jax.rollout.sinks.film import write_video

VideoChoice = Literal["none", "all", "success", "failure", "harmful"]


class VideoSink:
    """Draws the chosen episodes, of those whose every step has a picture."""

    def __init__(self, directory: Path, choice: VideoChoice):
        self._directory = directory
        self._choice: VideoChoice = choice

    def put(self, episode: Episode) -> None:
        """Writes the video beside the dataset."""
        filmed = len(episode.steps) and all(episode.steps.images.get(AGENT_CAMERA, (b"",)))
        if filmed and wants_video(self._choice, episode):
            write_video(self._directory / video_name(episode.key), episode)


def video_name(key: EpisodeKey) -> str:
    """Where an episode's video lies, relative to its dataset."""
    scene = f"{key.suite}_task{key.task_id}_state{key.initial_state}_seed{key.seed}"
    return f"videos/{scene}_{key.arm}.mp4"


def wants_video(choice: VideoChoice, episode: Episode) -> bool:
    """Whether a video of the episode was asked for."""
    if choice == "harmful":
        return bool(episode.harmful_onsets)
    return choice in ("all", episode.outcome)
