"""An episode as an mp4: what the camera saw, the risk per dimension, contacts and outcome."""

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mist_jax.disk import whole_file
from mist_jax.errors import UserError
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode
from mist_jax.record.observation import AGENT_CAMERA
from mist_jax.record.picture import as_seen, decode_picture
from mist_jax.signed import either_way

FRAMES_PER_SECOND = 20  # as the robot moved
_SECONDS_TO_FINISH = 600.0  # a film takes a few; one that hangs is killed
_VIEW, _PANEL, _FOOT = 384, 128, 64  # pixels: camera picture, risk panel, text below
_SIZE = (_VIEW + _PANEL, _VIEW + _FOOT)
_DIMENSIONS = ("x", "y", "z", "roll", "pitch", "yaw", "grip")
_HARMFUL, _MEANT, _SAFE, _FAILED = "#ff5a4f", "#5fa8d3", "#4cc38a", "#ffb454"
_INK, _FAINT, _PAPER, _TRACK = "#f2f2f2", "#9a9a9a", "#16181d", "#333842"


class FilmError(Exception):
    """A film that could not be finished; the message is one line."""


def write_video(path: Path, episode: Episode) -> None:
    """Writes the episode's film; its steps must hold JPEGs of `AGENT_CAMERA`.

    The film is published only once ffmpeg has ended well and left a file; else nothing is left.

    Raises:
        ValueError: a step has no picture.
        FilmError: ffmpeg failed, was killed or hangs, or the disk is full.
    """
    pictures = episode.steps.images.get(AGENT_CAMERA, ())
    if len(pictures) != len(episode.steps) or not all(pictures):
        raise ValueError(f"episode {episode.key} has no picture of every step")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            _encode(beside, draw_frames(episode))
    except OSError as error:
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
    width, height = _SIZE
    pictures = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FRAMES_PER_SECOND} -i -"
    film = "-an -vcodec libx264 -pix_fmt yuv420p -crf 15 -f mp4 -movflags +faststart"
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


def draw_frames(episode: Episode) -> Iterator[np.ndarray]:
    """The film's pictures, uint8 [H, W, 3], one per control step and a second of the last one."""
    fonts = {size: ImageFont.load_default(size=size) for size in (13, 16)}
    contacts: dict[int, list[Contact]] = {}
    for contact in episode.contacts:
        contacts.setdefault(contact.step, []).append(contact)
    last = len(episode.steps) - 1
    for step, jpeg in enumerate(episode.steps.images[AGENT_CAMERA]):
        picture = as_seen(decode_picture(jpeg))
        image = Image.new("RGB", _SIZE, _PAPER)
        image.paste(Image.fromarray(picture).resize((_VIEW, _VIEW), Image.Resampling.LANCZOS))
        draw = ImageDraw.Draw(image)
        _draw_risk(draw, fonts, _risk_at(episode, step))
        _draw_contacts(draw, fonts, contacts.get(step, []))
        _draw_foot(draw, fonts, episode, step, contacts)
        if step == last:
            _draw_outcome(draw, fonts, episode)
        frame = np.asarray(image)
        yield from [frame] * (FRAMES_PER_SECOND if step == last else 1)


def _risk_at(episode: Episode, step: int) -> np.ndarray | None:
    queries = episode.queries
    if queries.risk is None or not len(queries):
        return None
    at = max(int(np.searchsorted(queries.step, step, side="right")) - 1, 0)
    return either_way(queries.risk[at])


def _draw_risk(draw: ImageDraw.ImageDraw, fonts: dict, risk: np.ndarray | None) -> None:
    left, right = _VIEW + 12, _VIEW + _PANEL - 12
    draw.text((left, 10), "risk", _INK, fonts[16])
    if risk is None:
        draw.text((left, 34), "not predicted", _FAINT, fonts[13])
        return
    for index, (name, value) in enumerate(zip(_DIMENSIONS, risk, strict=True)):
        top = 38 + 48 * index
        draw.text((left, top), name, _INK, fonts[13])
        draw.text((right, top), f"{value:.2f}", _INK, fonts[13], anchor="ra")
        draw.rectangle((left, top + 20, right, top + 32), _TRACK)
        if value > 0.005:
            end = left + round((right - left) * min(float(value), 1.0))
            draw.rectangle((left, top + 20, end, top + 32), _HARMFUL if value >= 0.5 else _FAILED)


def _draw_contacts(draw: ImageDraw.ImageDraw, fonts: dict, contacts: list[Contact]) -> None:
    strongest = sorted(contacts, key=lambda c: (not c.harmful, -c.peak_force))[:3]
    for row, contact in enumerate(strongest):
        text = f"{_short(contact.robot_body)} on {_short(contact.obstacle_body)}"
        text = f"{text}  {contact.peak_force:.0f} N"
        top = _VIEW - 22 * (len(strongest) - row) - 4
        box = draw.textbbox((8, top), text, fonts[13])
        draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), _PAPER)
        draw.text((8, top), text, _HARMFUL if contact.harmful else _MEANT, fonts[13])
    if any(contact.harmful for contact in contacts):
        draw.rectangle((0, 0, _VIEW - 1, _VIEW - 1), outline=_HARMFUL, width=5)


def _draw_foot(
    draw: ImageDraw.ImageDraw,
    fonts: dict,
    episode: Episode,
    step: int,
    contacts: dict[int, list[Contact]],
) -> None:
    key, width = episode.key, _SIZE[0]
    head = f"{key.suite} {key.task_id}  state {key.initial_state}  {key.arm}"
    draw.text((8, _VIEW + 7), _fit(head, 44), _INK, fonts[13])
    draw.text(
        (width - 8, _VIEW + 7), f"step {step + 1}/{episode.max_steps}", _INK, fonts[13], anchor="ra"
    )
    draw.text((8, _VIEW + 25), _fit(episode.instruction, 76), _FAINT, fonts[13])
    top, bottom, count = _VIEW + 48, _VIEW + 58, len(episode.steps)
    draw.rectangle((8, top, width - 8, bottom), _TRACK)
    for at in range(step + 1):
        here = contacts.get(at, [])
        perturbed = bool(episode.steps.perturbed[at])
        color = _FAINT if perturbed else None
        if here:
            color = _HARMFUL if any(contact.harmful for contact in here) else _MEANT
        if color is not None:
            left = 8 + (width - 16) * at / count
            draw.rectangle((left, top, left + max((width - 16) / count, 1), bottom), color)
    now = 8 + (width - 16) * (step + 1) / count
    draw.line((now, top - 2, now, bottom + 2), _INK, 2)


def _draw_outcome(draw: ImageDraw.ImageDraw, fonts: dict, episode: Episode) -> None:
    text, color = episode.outcome, _FAILED
    if episode.outcome == "success":
        text, color = ("safe success", _SAFE) if episode.safe_success else ("success", _MEANT)
    harmful = len(episode.harmful_onsets)
    if harmful:
        text += f", {harmful} harmful contact{'s' if harmful > 1 else ''}"
    box = draw.textbbox((_VIEW // 2, 24), text, fonts[16], anchor="mm")
    draw.rectangle((box[0] - 10, box[1] - 7, box[2] + 10, box[3] + 7), _PAPER, color, 2)
    draw.text((_VIEW // 2, 24), text, color, fonts[16], anchor="mm")


def _short(body: str) -> str:
    return body.removeprefix("robot0_").removeprefix("gripper0_").removesuffix("_main")


def _fit(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
