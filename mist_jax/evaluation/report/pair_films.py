"""Films of episodes, small enough to be embedded in a page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mist_jax.evaluation.results import EpisodeResult
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.sinks.film import FilmError, small_film
from mist_jax.rollout.sinks.video import video_name

MOST_BYTES = 8_000_000  # of all films of a page, before they are encoded as text


@dataclass(frozen=True)
class EmbeddedFilm:
    """Data URIs of a film (H.264), and of the picture that stands for it until it is played."""

    film: str
    still: str


def embedded_films(source: Path, wanted: Sequence[EpisodeResult]) -> dict[EpisodeKey, EmbeddedFilm]:
    """The films of the wanted episodes of a dataset of which one was drawn.

    In the order of `wanted`, until the page would become too large. A film that cannot be read or
    made smaller is left out: a report is not worth less for it than a run for a film.
    """
    films: dict[EpisodeKey, EmbeddedFilm] = {}
    left = MOST_BYTES
    for result in wanted:
        path = source / video_name(result.key)
        if not path.is_file():
            continue
        try:
            film, still = small_film(path, _telling_step(result))
        except FilmError:
            continue
        left -= len(film) + len(still)
        if left < 0:
            break
        films[result.key] = EmbeddedFilm(_uri("video/mp4", film), _uri("image/jpeg", still))
    return films


def _telling_step(result: EpisodeResult) -> int:
    """Where the first contact begins, else the end, where the outcome stands."""
    last = result.steps - 1
    return last if result.first_harmful_step is None else min(result.first_harmful_step, last)


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
