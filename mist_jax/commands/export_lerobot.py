"""Writes an episode dataset as a LeRobotDataset v3, for LeRobot's policies (needs lerobot).

lerobot asks for older versions of what the rest of mist_jax runs with, so it wants an environment
of its own, in which only this command is run:

    python -m venv lerobot-env
    lerobot-env/bin/pip install 'mist_jax[lerobot]'
    lerobot-env/bin/mist-jax export_lerobot --data_dir=data --output_dir=lerobot --name=bowls
"""

from pathlib import Path
from typing import Any

from absl import flags
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mist_jax.episodes.export.lerobot import check_lerobot, export_lerobot
from mist_jax.record.episode import OUTCOMES

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Episode dataset that collect_failure_data has written, with --images=step.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where the dataset goes, as <output_dir>/<name>.", required=True
)
_NAME = flags.DEFINE_string("name", "mist_episodes", "Name of the dataset's folder.")
_OUTCOMES = flags.DEFINE_multi_enum(
    "outcomes", ["success", "failure"], OUTCOMES, "Outcomes of the episodes to export; repeatable."
)
_PICTURES: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "pictures",
    "image",
    ["image", "video"],
    "image: as they were stored, in the Parquet files; video: AV1, a tenth of the size, not exact.",
)
flags.register_validator(
    "name",
    lambda name: name.isidentifier() and name.islower(),
    "must be a lower-case word such as libero_spatial_mist",
)


def main() -> None:
    """Exports the dataset and says where it is."""
    check_lerobot()
    columns = ("episodes", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("episodes", total=None)
        folder = export_lerobot(
            Path(_DATA_DIR.value).expanduser(),
            Path(_OUTPUT_DIR.value).expanduser(),
            _NAME.value,
            _OUTCOMES.value,
            pictures=_PICTURES.value,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{folder}: open it with LeRobotDataset({_NAME.value!r}, root={str(folder)!r})")
