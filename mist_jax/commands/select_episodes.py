"""Copies the episodes of some tasks into a dataset of their own.

    python -m experiments.select_episodes --data_dir=data --save_dir=seen --task_ids=0,2-3,6-9

What is learnt from the copy has met no other task, which is how a result on unseen tasks is made.
"""

from absl import flags

from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.episodes.export.selection import select_episodes
from mist_jax.episodes.index import read_index
from mist_jax.ids import parse_ids
from mist_jax.progress import progress_bar

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Episode dataset to copy from.", required=True)
_SAVE_DIR = flags.DEFINE_string("save_dir", None, "Where the copy goes.", required=True)
_TASK_IDS = flags.DEFINE_string(
    "task_ids", None, "Tasks whose episodes are copied, such as 0-4,7.", required=True
)


def main() -> None:
    """Copies, and says what."""
    source, target = folder_of(_DATA_DIR.value), folder_of(_SAVE_DIR.value)
    entries = read_index(source)
    most = max((entry.key.task_id for entry in entries), default=0)
    tasks = parse_ids(_TASK_IDS.value, most + 1, "task")
    total = sum(entry.key.task_id in tasks for entry in entries)
    with progress_bar("copying", total, "episode") as bar:
        count = select_episodes(
            source,
            target,
            tasks,
            command=binary.command_line(),
            progress=lambda done, total: bar.advance(),
        )
    print(f"{count} of {len(entries)} episodes: {target}")
