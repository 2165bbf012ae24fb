"""Rewrites an episode dataset as TFRecord, for tools that train on RLDS (needs TensorFlow)."""

from absl import flags
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mist_jax.commands.flags.folders import folder_of
from mist_jax.episodes.export.tfrecord import check_tensorflow, export_rlds
from mist_jax.record.episode import OUTCOMES

_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Episode dataset that collect_failure_data has written, with --images=step.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where the dataset goes, as <output_dir>/<name>/1.0.0.", required=True
)
_NAME = flags.DEFINE_string("name", "mist_episodes", "Name of the TensorFlow dataset.")
_OUTCOMES = flags.DEFINE_multi_enum(
    "outcomes", ["success", "failure"], OUTCOMES, "Outcomes of the episodes to export; repeatable."
)
flags.register_validator(
    "name",
    lambda name: name.isidentifier() and name.islower(),
    "must be a lower-case word such as libero_spatial_mist",
)


def main() -> None:
    """Exports the dataset and says where it is."""
    check_tensorflow()
    columns = ("episodes", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("episodes", total=None)
        folder = export_rlds(
            folder_of(_DATA_DIR.value),
            folder_of(_OUTPUT_DIR.value),
            _NAME.value,
            _OUTCOMES.value,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{folder}: open it with tfds.builder_from_directory")
