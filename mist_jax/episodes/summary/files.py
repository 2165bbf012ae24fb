"""A dataset's summary, kept in its folder as numbers and as a picture."""

from pathlib import Path

from mist_jax.disk import full_disk_is_clear
from mist_jax.episodes.dataset_info import load_info, save_sidecar
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.reader import read_episodes
from mist_jax.episodes.summary.counts import DatasetSummary, summarise
from mist_jax.episodes.summary.figure import save_summary_figure


def summarise_dataset(directory: Path) -> DatasetSummary:
    """Summarises a dataset and stores the result: in its `dataset.json`, and as `summary.png`.

    Raises:
        UserError: there is no dataset, a file of it is damaged, or the disk is full.
    """
    directory = Path(directory)
    summary = summarise(read_episodes(directory))
    with full_disk_is_clear(directory):
        values = {**summary.as_json(), "dataset_hash": dataset_hash(directory)}
        save_sidecar(directory, load_info(directory), values)
        save_summary_figure(summary, directory / "summary.png")
    return summary
