"""Small films of stored episodes, to be embedded in a page."""

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mist_jax.episodes.reader import find_episodes
from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.sinks.film import SMALL, FilmError, can_be_filmed, find_ffmpeg, write_video
from mist_jax.rollout.sinks.frames import Threshold

MOST_BYTES = 8_000_000  # of all films of a page, before they are encoded as text


def embedded_films(
    source: Path, wanted: Sequence[EpisodeKey], threshold: Threshold
) -> dict[EpisodeKey, str]:
    """Data URIs (H.264) of the wanted episodes whose every step has a stored picture.

    In the order of `wanted`, until the page would become too large. Where there is no encoder, or
    one fails, the page does without.

    Raises:
        UserError: `source` is no dataset, or it is damaged.
    """
    found = find_episodes(source, set(wanted), images=True) if wanted else {}
    films: dict[EpisodeKey, str] = {}
    left = MOST_BYTES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        for key in wanted:
            if key not in found or not can_be_filmed(found[key]):
                continue
            try:
                find_ffmpeg()
                write_video(path, found[key], threshold, quality=SMALL)
            except (FilmError, UserError):
                continue
            left -= path.stat().st_size
            if left < 0:
                break
            films[key] = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    return films
