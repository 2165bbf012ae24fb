"""The forks of whole datasets, chosen without keeping more of an episode than they need."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mist_jax.counterfactual.forks import Fork, forks_of, in_drawn_order
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.record.episode import EpisodeKey
from mist_jax.simulator.libero.sampled_scenes import POOLS


def choose_forks(
    folders: Sequence[Path],
    *,
    per_episode: int,
    most: int | None,
    seed: int,
    wants: Callable[[EpisodeKey], bool] = lambda key: True,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Fork, ...]:
    """At most `most` forks, at most `per_episode` of each unsteered episode that is wanted.

    They come in an order drawn by `seed`, so a larger `most` only adds to them. `advance` is called
    after every episode that was read.

    Raises:
        UserError: a folder holds no dataset, no episode has a fork, or a scene is not for tuning:
            whoever branches there sees what it is put aside for.
    """
    found: list[tuple[Fork, ...]] = []
    for episode in read_episodes(*folders):
        if wants(episode.key):
            _check_open(episode.key)
            found.append(forks_of(episode, per_episode, seed))
        advance()
    forks = in_drawn_order(found, seed)[:most]
    if not forks:
        raise UserError(
            f"{', '.join(map(str, folders))}: no unsteered episode that is wanted has a query to "
            "fork at"
        )
    return forks


def _check_open(key: EpisodeKey) -> None:
    for pool, scenes in POOLS.items():
        if pool != "tuning" and key.initial_state in scenes:
            raise UserError(
                f"{key} is a {pool} scene, and branches tell how to act in it: "
                "leave such scenes out, for example by --initial_states=tuning"
            )
