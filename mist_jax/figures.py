"""Figures on disk."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from mist_jax.disk import whole_file


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes each figure as NAME.png into `folder`, which is made if absent; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        with whole_file(path) as beside, names_as_they_are(figure):
            figure.savefig(beside, format="png", dpi=120)
        paths.append(path)
    return paths


@contextmanager
def names_as_they_are(figure: Figure) -> Iterator[None]:
    """Within it, text of the figure is drawn as it is: `$` and `_` of a name are no mathematics.

    The numbers of logarithmic axes stay powers of ten.
    """
    axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis)]
    powers = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    kept = {id(text) for axis in powers for text in axis.findobj(Text)}
    kept -= {id(axis.label) for axis in powers}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and id(text) not in kept:
            text.set_parse_math(False)
    # Tick labels that are made only when drawn follow the setting of that moment.
    with matplotlib.rc_context({} if powers else {"text.parse_math": False}):
        yield
