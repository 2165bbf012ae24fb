"""An episode as an mp4."""

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from mist_jax.disk import whole_file
from mist_jax.errors import UserError
from mist_jax.record.episode import Episode
from mist_jax.record.observation import AGENT_CAMERA
from mist_jax.rollout.sinks.frames import FRAMES_PER_SECOND, SIZE, Threshold, draw_frames

_SECONDS_TO_FINISH = 600.0  # a film takes a few; one that hangs is killed
_FINE, _SMALL = 15, 30  # constant rate factors of x264: to look at closely, to embed


class FilmError(Exception):
    """A film that could not be finished; the message is one line."""


def write_video(path: Path, episode: Episode, threshold: Threshold | None = None) -> None:
    """Writes the episode's film; its steps must hold JPEGs of `AGENT_CAMERA`.

    `threshold` [M] is the risk above which a signed motion alarms, where that is known. The film
    is published only once ffmpeg has ended well and left a file; else nothing is left.

    Raises:
        ValueError: a step has no picture.
        FilmError: ffmpeg failed, was killed or hangs, or the disk is full.
    """
    if not can_be_filmed(episode):
        raise ValueError(f"episode {episode.key} has no picture of every step")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            _encode(beside, draw_frames(episode, threshold))
    except OSError as error:
        raise FilmError(f"{path.name}: {error}") from error


def can_be_filmed(episode: Episode) -> bool:
    """Whether every step has a picture of the camera that films show."""
    pictures = episode.steps.images.get(AGENT_CAMERA, ())
    return 0 < len(pictures) == len(episode.steps) and all(pictures)


def small_film(path: Path, step: int) -> tuple[bytes, bytes]:
    """A film on disk as a smaller mp4 (H.264), and its picture (JPEG) at a control step.

    Raises:
        FilmError: there is no encoder, or it cannot read the film.
    """
    film = f"-an -vcodec libx264 -pix_fmt yuv420p -preset slow -crf {_SMALL} -movflags +faststart"
    with tempfile.TemporaryDirectory() as folder:
        small, still = Path(folder) / "small.mp4", Path(folder) / "still.jpg"
        outputs = [
            *("-i", str(path), *film.split(), str(small)),
            *("-ss", f"{step / FRAMES_PER_SECOND}", "-frames:v", "1", "-q:v", "6", str(still)),
        ]
        try:
            command = [find_ffmpeg(), "-v", "error", *outputs]
            subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS_TO_FINISH)
            return small.read_bytes(), still.read_bytes()
        except (OSError, subprocess.SubprocessError, UserError) as error:
            raise FilmError(f"{path.name}: {error}") from error


def find_ffmpeg() -> str:
    """The encoder's program.

    Raises:
        UserError: there is none.
    """
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError(f"videos need ffmpeg: {error}; leave --save_video out") from None


def _encode(path: Path, frames: Iterator[np.ndarray]) -> None:
    width, height = SIZE
    pictures = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FRAMES_PER_SECOND} -i -"
    film = f"-an -vcodec libx264 -pix_fmt yuv420p -crf {_FINE} -f mp4 -movflags +faststart"
    command = [find_ffmpeg(), "-y", "-v", "error", *pictures.split(), *film.split(), str(path)]
    # A file takes any amount of complaints; a pipe that nobody reads would stop ffmpeg.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for this process, which ends the film itself
        )
        watch = threading.Timer(_SECONDS_TO_FINISH, process.kill)
        watch.start()
        assert process.stdin is not None
        try:
            # A broken pipe says only that ffmpeg has ended; why, it says itself.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                for frame in frames:
                    pipe.write(np.ascontiguousarray(frame).data)
            code = process.wait()
        finally:
            watch.cancel()
            process.kill()
            process.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if code or not path.is_file() or not path.stat().st_size:
        raise OSError(
            f"ffmpeg ended with status {code}: {lines[-1] if lines else 'no reason said'}"
        )
