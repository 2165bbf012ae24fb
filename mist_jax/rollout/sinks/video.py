"""Which episodes become videos, and where those lie."""

import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mist_jax.disk import PARTIAL
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.sinks.film import FilmError, can_be_filmed, find_ffmpeg, write_video
from mist_jax.rollout.sinks.frames import Threshold

FOLDER = "videos"
VideoChoice = Literal["none", "all", "success", "failure", "harmful"]


class VideoSink:
    """Draws the chosen episodes, of those whose every step has a picture.

    It comes after the dataset's sink: a video that fails never costs the episode. It does not stop
    the run either, which may be of thousands of episodes: `tell` says which and why, once for each,
    and `failed` counts them. An episode that is stored already is not drawn by a later run.
    `threshold` [M], the risk above which a signed motion alarms, is drawn where it is known.
    """

    def __init__(
        self,
        directory: Path,
        choice: VideoChoice,
        tell: Callable[[str], None] = lambda text: None,
        threshold: Threshold | None = None,
    ):
        """Removes what a killed run left half drawn.

        Raises:
            UserError: there is no ffmpeg, or `videos` cannot be a folder.
        """
        self._directory = directory
        self._choice: VideoChoice = choice
        self._tell, self.failed = tell, 0
        self._threshold = threshold
        if choice == "none":
            return
        find_ffmpeg()
        folder = directory / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"no videos can be written to {folder}: {error.strerror}") from error
        for path in folder.glob(f"*{PARTIAL}"):
            path.unlink()

    def put(self, episode: Episode) -> None:
        """Writes the video beside the dataset."""
        if not can_be_filmed(episode) or not wants_video(self._choice, episode):
            return
        try:
            path = self._directory / video_name(episode.key)
            write_video(path, episode, self._threshold)
        except FilmError as error:
            self.failed += 1
            self._tell(f"no video, but the episode is stored: {error}")


def video_name(key: EpisodeKey) -> str:
    """Where an episode's video lies, relative to its dataset."""
    # Names of extensions may hold anything, and must not lead out of the folder.
    suite, arm = (urllib.parse.quote(name, safe="") for name in (key.suite, key.arm))
    scene = f"{suite}_task{key.task_id}_state{key.initial_state}_seed{key.seed}"
    return f"{FOLDER}/{scene}_{arm}.mp4"


def wants_video(choice: VideoChoice, episode: Episode) -> bool:
    """Whether a video of the episode was asked for."""
    if choice == "harmful":
        return bool(episode.harmful_onsets)
    return choice in ("all", episode.outcome)
