"""Figures on disk."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from mist_jax.disk import whole_file


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes each figure as NAME.png into `folder`, which is made if absent; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        with whole_file(path) as beside:
            figure.savefig(beside, format="png", dpi=120)
        paths.append(path)
    return paths
