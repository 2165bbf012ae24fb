"""Initial states are read exactly, and without running what a file could contain."""

import dataclasses
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.simulator.libero.initial_states import load_initial_states
from mist_jax.simulator.libero.libero_suites import LIBERO_SUITES
from mist_jax.simulator.libero.suites import load_suite, load_task


# All scenes of the other suites are drawn: they have no file.
@pytest.mark.parametrize("suite", [suite.name for suite in LIBERO_SUITES])
def test_states_are_those_that_torch_reads(suite):
    torch = pytest.importorskip("torch", reason="the oracle is torch.load")
    for task in load_suite(suite)[:10]:
        expected = torch.load(task.initial_states_file, weights_only=False)
        states = load_initial_states(task)
        np.testing.assert_array_equal(states, expected)
        assert states.dtype == np.float64
        assert len(states) == 50


def zip_with(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return file.getvalue()


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not a zip", "damaged"),
        (zip_with(b"\x80\x02garbage"), "damaged"),
        (zip_with(pickle.dumps(RunsCode())), "names (posix|nt).mkdir"),
        (zip_with(pickle.dumps([1.0])), "no float64 table"),
    ],
)
def test_damaged_file_is_one_clear_line_and_runs_nothing(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "states.pruned_init"
    path.write_bytes(content)
    task = dataclasses.replace(load_task("libero_spatial", 0), initial_states_file=path)
    with pytest.raises(UserError, match=reason) as caught:
        load_initial_states(task)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "was_run").exists()


def test_missing_file_is_one_clear_line(tmp_path):
    path = tmp_path / "absent"
    task = dataclasses.replace(load_task("libero_spatial", 0), initial_states_file=path)
    with pytest.raises(UserError, match="no initial states at"):
        load_initial_states(task)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (None, "no initial states at"),
        (b"no numpy file", "damaged"),
        (np.zeros(3), "no float64 tab"),
    ],
)
def test_a_numpy_file_that_is_no_table_is_one_clear_line(tmp_path, table, reason):
    path = tmp_path / "states.npy"
    if isinstance(table, bytes):
        path.write_bytes(table)
    elif table is not None:
        np.save(path, table)
    task = dataclasses.replace(load_task("libero_spatial", 0), initial_states_file=path)
    with pytest.raises(UserError, match=reason) as caught:
        load_initial_states(task)
    assert "numpy.save" in str(caught.value)


def test_a_numpy_table_is_read_as_it_is(tmp_path):
    table = np.random.default_rng(0).normal(size=(4, 9))
    np.save(tmp_path / "states.npy", table)
    task = load_task("libero_spatial", 0)
    task = dataclasses.replace(task, initial_states_file=tmp_path / "states.npy")
    np.testing.assert_array_equal(load_initial_states(task), table)
