"""A checkpoint's statistics: they fit, and of several data sets one is kept by its name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mist_jax.errors import UserError
from mist_jax.loading import load_policy
from mist_jax.policy.checkpoint import read_card
from mist_jax.weights.convert import convert_checkpoint
from tests.helpers.published_checkpoint import edit_json


def test_statistics_replace_norm_stats_and_must_fit(copy: Path, tmp_path: Path) -> None:
    policy = convert_checkpoint(copy, tmp_path / "policy", "float32")
    assert load_policy(policy).preprocessor.statistics.key == "libero_spatial_no_noops"
    edit_json(
        copy,
        "dataset_statistics.json",
        lambda s: s["libero_spatial_no_noops"]["proprio"].update(q01=[0.0] * 5, q99=[1.0] * 5),
    )
    with pytest.raises(UserError, match="5 proprio dimensions"):
        convert_checkpoint(copy, tmp_path / "other", "float32")
    assert not (tmp_path / "other").exists()


def several_data_sets(folder: Path) -> None:
    """Gives a checkpoint the statistics of another suite as well, and of another robot."""

    def change(table: dict[str, Any]) -> None:
        spatial = table["libero_spatial_no_noops"]
        table["libero_goal_no_noops"] = json.loads(json.dumps(spatial))
        table["libero_goal_no_noops"]["action"]["q01"][0] = -2.0
        table["bridge"] = {"action": {"q01": [0.0] * 3, "q99": [1.0] * 3}}

    edit_json(folder, "dataset_statistics.json", change)


def test_one_of_several_data_sets_is_kept_and_the_name_says_which(
    copy: Path, tmp_path: Path
) -> None:
    several_data_sets(copy)
    made = {
        key: convert_checkpoint(copy, tmp_path / key, "float32", unnorm_key=key)
        for key in ("libero_goal", "libero_spatial")
    }
    policies = {key: load_policy(folder) for key, folder in made.items()}
    for key, policy in policies.items():
        assert policy.preprocessor.statistics.key == f"{key}_no_noops"
        assert policy.identity.startswith(f"copy:{key}_no_noops@")
    assert policies["libero_goal"].preprocessor.statistics.action.low[0] == -2.0
    with pytest.raises(UserError, match="no data set 'libero_10'; it has: bridge, libero_goal"):
        convert_checkpoint(copy, tmp_path / "other", "float32", unnorm_key="libero_10")
    with pytest.raises(UserError, match="not this conversion"):
        convert_checkpoint(copy, made["libero_goal"], "float32", unnorm_key="libero_spatial")


def test_the_only_data_set_need_not_be_named_and_changes_no_name(
    published: Path, tmp_path: Path
) -> None:
    plain = read_card(convert_checkpoint(published, tmp_path / "plain", "float32"))
    named = convert_checkpoint(published, tmp_path / "b", "float32", unnorm_key="libero_spatial")
    assert read_card(named).identity == plain.identity


def test_the_command_refuses_several_data_sets_before_it_converts(
    copy: Path, tmp_path: Path
) -> None:
    several_data_sets(copy)
    command = [
        *(sys.executable, "-m", "experiments.convert_weights", "--dtype=float32"),
        *(f"--hf_checkpoint={copy}", f"--output_dir={tmp_path / 'policy'}"),
    ]
    ran = [
        subprocess.run(
            [*command, *more], cwd=Path(__file__).parents[2], capture_output=True, text=True
        )
        for more in ([], ["--unnorm_key=libero_goal"])
    ]
    assert ran[0].returncode == 1
    assert "several data sets" in ran[0].stderr
    assert "--unnorm_key" in ran[0].stderr
    assert ran[1].returncode == 0, ran[1].stderr
    assert "copy:libero_goal_no_noops@" in ran[1].stdout
