"""Fills a dataset with the episodes that it lacks: what every run that simulates does."""

from collections.abc import Callable
from pathlib import Path

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.progress import progress_bar
from mist_jax.rollout.actor import Actor
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run
from mist_jax.rollout.sinks.crash_guard import CrashGuard
from mist_jax.rollout.sinks.dataset import DatasetSink
from mist_jax.rollout.sinks.progress import ProgressSink, Tally
from mist_jax.rollout.sinks.video import VideoChoice, VideoSink
from mist_jax.rollout.source import EpisodeSource


def fill_dataset(
    directory: Path,
    info: DatasetInfo,
    source: EpisodeSource,
    start_fleet: Callable[[], Fleet],
    actor: Actor,
    *,
    verb: str,
    tally: Tally,
    video: VideoChoice = "none",
) -> None:
    """Runs what `directory` lacks of `source`; stopped at any moment, the same call goes on.

    Args:
        directory: of the dataset, begun now or by an earlier run.
        info: what all of its episodes have in common.
        source: which episodes are wanted.
        start_fleet: starts the workers; not called where nothing is missing.
        actor: who acts.
        verb: what is being done, for the progress bar ("collecting").
        tally: counts the episodes for the progress bar.
        video: of which episodes a video is drawn.

    Raises:
        UserError: the folder holds other episodes, the disk is full, or the simulator crashes in
            every episode.
    """
    with EpisodeWriter(directory, info) as writer:
        wanted = source.missing
        for entry in writer.entries:
            source.recall(entry)
            tally.count(entry.key, entry.outcome, harmful=entry.harmful)
        if not source.missing:
            return
        with progress_bar(verb, wanted, "episode") as bar, start_fleet() as fleet:
            if wanted > source.missing:
                bar.advance(wanted - source.missing, str(tally), resumed=True)
            films = VideoSink(directory, video, bar.note, info.setup.get("threshold"))
            sinks = (
                DatasetSink(writer),  # first: what comes after may fail without losing the episode
                films,
                CrashGuard(),
                ProgressSink(bar, lambda: source.missing, tally, lambda: _troubles(fleet, films)),
            )
            run(source, fleet, actor, sinks)


def _troubles(fleet: Fleet, films: VideoSink) -> str:
    replaced = [f"{fleet.replaced} workers replaced"] * bool(fleet.replaced)
    return ", ".join(replaced + [f"{films.failed} videos failed"] * bool(films.failed))
