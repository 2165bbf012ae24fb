"""Every notebook runs from top to bottom, and what it asserts on the way holds."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
MINUTES = {"a_small_dataset", "patching", "own_direction", "two_checkpoints"}


def test_there_are_notebooks_and_they_begin_by_saying_what_one_learns():
    assert len(NOTEBOOKS) >= 5
    for path in NOTEBOOKS:
        first = jupytext.read(path).cells[0]
        assert first.cell_type == "markdown", path.name
        words = " ".join(first.source.split())
        assert words.startswith("# "), path.name
        assert "ou learn" in words, path.name
        assert "two cores" in words, f"{path.name} says how long it takes"


@pytest.mark.libero
@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, marks=[pytest.mark.nightly] if path.stem in MINUTES else [], id=path.stem
        )
        for path in NOTEBOOKS
    ],
)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path, monkeypatch):
    # The package of this checkout and nothing beside it: a notebook is opened wherever one likes.
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "mist_jax").symlink_to(ROOT / "mist_jax")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook,
        timeout=580,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [one for one in outputs if "image/png" in one.get("data", {})]
    assert pictures, "a notebook without a figure"
