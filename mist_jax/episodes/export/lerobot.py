"""The dataset as a LeRobotDataset (v3), written by the library itself."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from mist_jax.episodes.export.choice import check_exportable, count_of, episodes_of, whole_export
from mist_jax.episodes.export.lerobot_frames import (
    FRAMES_PER_SECOND,
    ROBOT,
    lerobot_features,
    lerobot_frames,
)
from mist_jax.errors import UserError

Pictures = Literal["image", "video"]
_HOW = "in an environment of its own: pip install 'mist_jax[lerobot]'"


def check_lerobot() -> None:
    """Makes sure that lerobot is installed, without importing it.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec("lerobot") is None:
        raise UserError(f"a LeRobotDataset needs lerobot, which is not installed; {_HOW}")


def export_lerobot(
    directory: Path,
    output_dir: Path,
    name: str,
    outcomes: Sequence[str],
    *,
    pictures: Pictures = "image",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes the episodes with one of `outcomes` to `output_dir/name`.

    Imports PyTorch. Episodes that crashed before their first step have no frame and are left out.
    `progress` is told the number of episodes dealt with and their total.

    Args:
        directory: of the dataset, which keeps a picture per step.
        output_dir: where the new folder goes.
        name: of the new folder.
        outcomes: of the episodes that are written.
        pictures: as they are, in the Parquet files, or as videos: small, and not exact.
        progress: is told of every episode.

    Returns:
        The folder, which `LeRobotDataset(name, root=folder)` opens.

    Raises:
        UserError: lerobot is not installed or of another version, there is no dataset, it keeps no
            picture per step, none of its episodes qualifies, the result exists already, or the disk
            is full.
    """
    check_lerobot()
    info = check_exportable(directory, outcomes, "the policies that train on a LeRobotDataset")
    os.environ.setdefault("SVT_LOG", "1")  # the encoder tells its settings for every film
    try:
        from datasets.utils.logging import (  # pyright: ignore[reportMissingImports]
            disable_progress_bar,
        )
        from lerobot.datasets.lerobot_dataset import (  # pyright: ignore[reportMissingImports]
            LeRobotDataset,
        )
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"lerobot cannot be imported ({reason}); {_HOW}") from error
    disable_progress_bar()
    final, total = output_dir / name, count_of(directory, outcomes)
    with whole_export(final) as folder:
        written = LeRobotDataset.create(
            repo_id=name,
            fps=FRAMES_PER_SECOND,
            features=lerobot_features(info, videos=pictures == "video"),
            root=folder,
            robot_type=ROBOT,
            use_videos=pictures == "video",
        )
        try:
            for done, episode in enumerate(episodes_of(directory, outcomes), start=1):
                for frame in lerobot_frames(episode, info):
                    written.add_frame(frame)
                if len(episode.steps):
                    written.save_episode()
                progress(done, total)
        finally:
            written.finalize()  # else it writes into the folder when it is collected, at any time
    return final
