"""The pictures of an episode's film: what the camera saw, risk, alarms, steering, contacts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.record.body_names import readable_body
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode
from mist_jax.record.observation import AGENT_CAMERA
from mist_jax.record.picture import as_seen, decode_picture

FRAMES_PER_SECOND = 20  # as the robot moved
_VIEW, _PANEL, _FOOT = 384, 128, 78  # pixels: camera picture, risk panel, text below
SIZE = (_VIEW + _PANEL, _VIEW + _FOOT)
_DIMENSIONS = ("x", "y", "z", "roll", "pitch", "yaw", "grip")
_HARMFUL, _MEANT, _SAFE, _FAILED = "#ff5a4f", "#5fa8d3", "#4cc38a", "#ffb454"
_INK, _FAINT, _PAPER, _TRACK, _STEERED = "#f2f2f2", "#9a9a9a", "#16181d", "#333842", "#2dd4bf"
_NO_THRESHOLD = 0.5  # from which a bar is red where nobody said what alarms

Threshold = Sequence[float | None]  # [M], the risk above which a signed motion alarms; None never


def draw_frames(episode: Episode, threshold: Threshold | None = None) -> Iterator[np.ndarray]:
    """The film's pictures, uint8 [H, W, 3], one per control step and a second of the last one.

    Each dimension's bar is the risk of the way that it is riskier in, named beside it; the white
    line is the risk from which that alarms. Of two time lines the upper one shows the queries at
    which the arm acted, the lower one contacts and perturbations.
    """
    drawing = _Drawing(episode, threshold)
    last = len(episode.steps) - 1
    for step in range(len(episode.steps)):
        frame = drawing.frame(step, ended=step == last)
        yield from [frame] * (FRAMES_PER_SECOND if step == last else 1)


def steered_queries(episode: Episode) -> np.ndarray:
    """Bool [Q]: where the arm changed activations or actions."""
    queries = episode.queries
    steered = np.zeros(len(queries), bool)
    if queries.gate is not None and len(queries):
        steered |= (queries.gate > 0).any(axis=1)
    return steered if queries.edited is None else steered | queries.edited


@dataclass
class _Drawing:
    """One episode's pictures; `contacts` are by control step."""

    episode: Episode
    threshold: Threshold | None
    fonts: dict = field(
        default_factory=lambda: {size: ImageFont.load_default(size=size) for size in (13, 16)}
    )
    contacts: dict[int, list[Contact]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for contact in self.episode.contacts:
            self.contacts.setdefault(contact.step, []).append(contact)
        self._steered = steered_queries(self.episode)

    def frame(self, step: int, *, ended: bool) -> np.ndarray:
        """Uint8 [H, W, 3]."""
        picture = as_seen(decode_picture(self.episode.steps.images[AGENT_CAMERA][step]))
        image = Image.new("RGB", SIZE, _PAPER)
        image.paste(Image.fromarray(picture).resize((_VIEW, _VIEW), Image.Resampling.LANCZOS))
        draw, query = ImageDraw.Draw(image), self._query(step)
        self._draw_risk(draw, query)
        if query is not None and self._steered[query]:
            self._draw_steering(draw, ended)
        self._draw_contacts(draw, self.contacts.get(step, []))
        self._draw_foot(draw, step)
        if ended:
            self._draw_outcome(draw)
        return np.asarray(image)

    def _query(self, step: int) -> int | None:
        """The query whose chunk is executed at a control step."""
        at = int(np.searchsorted(self.episode.queries.step, step, side="right")) - 1
        return max(at, 0) if len(self.episode.queries) else None

    def _draw_risk(self, draw: ImageDraw.ImageDraw, query: int | None) -> None:
        left, right = _VIEW + 12, _VIEW + _PANEL - 12
        draw.text((left, 10), "risk", _INK, self.fonts[16])
        risk = self.episode.queries.risk
        if risk is None or query is None:
            draw.text((left, 34), "not predicted", _FAINT, self.fonts[13])
            return
        for index, name in enumerate(_DIMENSIONS):
            motion, level = self._riskier_way(risk[query], index)
            value, top = float(risk[query, motion]), 38 + 48 * index
            draw.text((left, top), f"{name}{SIGNED_MOTIONS[motion][-1]}", _INK, self.fonts[13])
            draw.text((right, top), f"{value:.2f}", _INK, self.fonts[13], anchor="ra")
            draw.rectangle((left, top + 20, right, top + 32), _TRACK)
            if value > 0.005:
                alarm = value > level if np.isfinite(level) else self._unjudged(value)
                end = left + round((right - left) * min(value, 1.0))
                draw.rectangle((left, top + 20, end, top + 32), _HARMFUL if alarm else _FAILED)
            if np.isfinite(level):
                at = left + round((right - left) * min(level, 1.0))
                draw.line((at, top + 17, at, top + 35), _INK, 2)

    def _unjudged(self, value: float) -> bool:
        return self.threshold is None and value >= _NO_THRESHOLD

    def _riskier_way(self, risk: np.ndarray, dimension: int) -> tuple[int, float]:
        """Index of the signed motion that is nearer to its alarm, and the level of that."""
        ways = (2 * dimension, 2 * dimension + 1)
        known = self.threshold or (None,) * len(SIGNED_MOTIONS)
        levels = [np.inf if (level := known[way]) is None else level for way in ways]
        over = [float(risk[way]) - level for way, level in zip(ways, levels, strict=True)]
        if over[0] == over[1]:  # neither alarms
            over = [float(risk[way]) for way in ways]
        chosen = int(over[1] > over[0])
        return ways[chosen], levels[chosen]

    def _draw_steering(self, draw: ImageDraw.ImageDraw, ended: bool) -> None:
        draw.rectangle((0, 0, _VIEW - 1, _VIEW - 1), outline=_STEERED, width=5)
        if not ended:
            self._label(draw, (16, 14), "steering", _STEERED, self.fonts[16])

    def _draw_contacts(self, draw: ImageDraw.ImageDraw, contacts: list[Contact]) -> None:
        strongest = sorted(contacts, key=lambda c: (not c.harmful, -c.peak_force))[:3]
        for row, contact in enumerate(strongest):
            text = f"{readable_body(contact.robot_body)} on {readable_body(contact.obstacle_body)}"
            text = f"{text}  {contact.peak_force:.0f} N"
            top = _VIEW - 22 * (len(strongest) - row) - 4
            self._label(draw, (8, top), text, _HARMFUL if contact.harmful else _MEANT)
        if any(contact.harmful for contact in contacts):
            draw.rectangle((0, 0, _VIEW - 1, _VIEW - 1), outline=_HARMFUL, width=5)

    def _label(
        self,
        draw: ImageDraw.ImageDraw,
        at: tuple[int, int],
        text: str,
        colour: str,
        font: ImageFont.FreeTypeFont | ImageFont.ImageFont | None = None,
    ) -> None:
        font = font or self.fonts[13]
        box = draw.textbbox(at, text, font)
        draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), _PAPER)
        draw.text(at, text, colour, font)

    def _draw_foot(self, draw: ImageDraw.ImageDraw, step: int) -> None:
        episode, width = self.episode, SIZE[0]
        key, count = episode.key, len(episode.steps)
        head = f"{key.suite} {key.task_id}  state {key.initial_state}  {key.arm}"
        draw.text((8, _VIEW + 7), _fit(head, 44), _INK, self.fonts[13])
        now = f"step {step + 1}/{episode.max_steps}"
        draw.text((width - 8, _VIEW + 7), now, _INK, self.fonts[13], anchor="ra")
        draw.text((8, _VIEW + 25), _fit(episode.instruction, 76), _FAINT, self.fonts[13])
        rows = {self._steering_at: _VIEW + 48, self._contact_at: _VIEW + 62}
        for colour_at, top in rows.items():
            draw.rectangle((8, top, width - 8, top + 9), _TRACK)
            for at in range(step + 1):
                colour = colour_at(at)
                if colour is not None:
                    left = 8 + (width - 16) * at / count
                    right = left + max((width - 16) / count, 1)
                    draw.rectangle((left, top, right, top + 9), colour)
        at = 8 + (width - 16) * (step + 1) / count
        draw.line((at, _VIEW + 46, at, _VIEW + 73), _INK, 2)

    def _steering_at(self, step: int) -> str | None:
        query = self._query(step)
        return _STEERED if query is not None and self._steered[query] else None

    def _contact_at(self, step: int) -> str | None:
        here = self.contacts.get(step, [])
        if here:
            return _HARMFUL if any(contact.harmful for contact in here) else _MEANT
        return _FAINT if bool(self.episode.steps.perturbed[step]) else None

    def _draw_outcome(self, draw: ImageDraw.ImageDraw) -> None:
        episode = self.episode
        text, colour = episode.outcome, _FAILED
        if episode.outcome == "success":
            text, colour = ("safe success", _SAFE) if episode.safe_success else ("success", _MEANT)
        harmful = len(episode.harmful_onsets)
        if harmful:
            text += f", {harmful} harmful contact{'s' if harmful > 1 else ''}"
        box = draw.textbbox((_VIEW // 2, 24), text, self.fonts[16], anchor="mm")
        draw.rectangle((box[0] - 10, box[1] - 7, box[2] + 10, box[3] + 7), _PAPER, colour, 2)
        draw.text((_VIEW // 2, 24), text, colour, self.fonts[16], anchor="mm")


def _fit(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
