"""Films of episodes, small enough to be embedded in a page."""

import base64
from collections.abc import Sequence
from pathlib import Path

from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.sinks.film import FilmError, small_film
from mist_jax.rollout.sinks.video import video_name

MOST_BYTES = 8_000_000  # of all films of a page, before they are encoded as text


def embedded_films(source: Path, wanted: Sequence[EpisodeKey]) -> dict[EpisodeKey, str]:
    """Data URIs (H.264) of the wanted episodes of a dataset of which a film was drawn.

    In the order of `wanted`, until the page would become too large. A film that cannot be read or
    made smaller is left out: a report is not worth less for it than a run for a film.
    """
    films: dict[EpisodeKey, str] = {}
    left = MOST_BYTES
    for key in wanted:
        path = source / video_name(key)
        if not path.is_file():
            continue
        try:
            film = small_film(path)
        except FilmError:
            continue
        left -= len(film)
        if left < 0:
            break
        films[key] = "data:video/mp4;base64," + base64.b64encode(film).decode()
    return films
