"""The first walk: its own vector does what it says, and no step needs what none before it made."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.extensions import VARIABLE
from mist_jax.signed import DIMENSION, SIGN
from mist_jax.steering.bank import Directions
from mist_jax.steering.study.method import MethodInputs
from mist_jax.steering.study.registry import in_order
from tests.helpers.linear_policy import linear_inputs, linear_policy

ROOT = Path(__file__).parents[2]
WALK = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
QUICK_START = {f"runs/quickstart/{part}" for part in ("episodes", "risk", "steering")}


@pytest.fixture
def own_vector(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", WALK, re.DOTALL)
    (tmp_path / "own_vector.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, "own_vector")
    return importlib.import_module("own_vector")


def test_the_own_vector_takes_its_motion_back_and_leaves_the_others_alone(own_vector):
    (row,) = in_order(("back",))
    policy, executed = linear_policy()  # [A, D]
    states: Any = SimpleNamespace(inputs=linear_inputs(8))
    samples: Any = None
    found = row.find(MethodInputs(samples, (0, 1), (0, 1), policy, states=states))
    assert isinstance(found, Directions)
    assert found.names == own_vector.MOTIONS
    for name, change in zip(found.names, found.unit @ executed.T, strict=True):  # [L, A]
        motion = SIGNED_MOTIONS.index(name)
        others = np.delete(change[:, :6], DIMENSION[motion], axis=-1)
        assert (SIGN[motion] * change[:, DIMENSION[motion]] < -0.1).all()
        assert np.abs(others).max() < 1e-4


def test_each_step_of_the_walk_needs_only_what_a_step_before_it_made():
    made, asked = set(QUICK_START), 0
    for block in re.findall(r"```sh\n(.*?)```", WALK, re.DOTALL):
        for command in block.replace("\\\n", " ").splitlines():
            flags = dict(re.findall(r"--(\w+)=(\S+)", command))
            for name in ("data_dir", "risk_head", "steering_vectors", "causal_bank"):
                if name in flags:
                    asked += 1
                    assert flags[name] in made, command
            if command.startswith("cp "):
                assert (ROOT / command.split()[1]).is_file()
            made |= {flags["output_dir"]} if "output_dir" in flags else set()
    assert asked == 6
