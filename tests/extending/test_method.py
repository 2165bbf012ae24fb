"""A steering method of one's own is one file: extracted, saved, and pushed along."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.steering.checkpoint import restore_bank
from mist_jax.steering.extraction_run import ExtractionConfig, extract_banks, save_extraction
from mist_jax.steering.methods import METHODS, in_order
from tests.helpers.tiny import tiny_policy
from tests.risk.test_detectors import study

ROOT = Path(__file__).parents[2]


def test_it_is_extracted_beside_the_others_with_its_control(extended, tmp_path):
    extended("method")
    policy = tiny_policy()
    samples = study(model=policy.identity, width=policy.sites["llm.resid"].width)
    config = ExtractionConfig(("random", "median"), min_samples=4)
    made = extract_banks(samples, "h", policy, config)
    assert [directions.method for directions in made.found] == ["median", "random"]
    save_extraction(tmp_path, made)
    mine = restore_bank(tmp_path).method("median")
    assert mine.names == restore_bank(tmp_path).method("random").names == ("x+",)
    assert not mine.proofs[0].causal  # its effect on actions was not measured: no pictures
    risky = samples.risk[:, 0] & samples.valid
    along = samples.activation[:, 0] @ np.asarray(mine.vectors)[0, samples.layers[0]]
    assert along[risky].mean() < along[~risky].mean()  # it leads away from harm


def test_without_the_extension_it_is_unknown():
    assert "median" not in METHODS
    with pytest.raises(UserError, match="no steering method 'median'; there are contrast"):
        in_order(("median",))


def test_the_binary_knows_it_by_the_flag(tmp_path):
    command = [sys.executable, "-m", "experiments.extract_steering_vectors", "--methods=median"]
    command += [f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}"]
    path = {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent / 'examples'}", "PATH": ""}
    said = [
        subprocess.run(
            [*command, *more], cwd=ROOT, env=path, capture_output=True, text=True, check=False
        ).stderr
        for more in ([], ["--extensions=method"])
    ]
    assert "no steering method 'median'" in said[0]
    assert "holds no episode dataset" in said[1]
