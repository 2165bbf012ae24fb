"""Reading a checkpoint's statistics, and undoing its normalisation of actions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.statistics import read_statistics, unnormalise_actions
from tests.helpers.published import published_folder


def entry(width: int = 7) -> dict[str, Any]:
    low = np.linspace(-0.6, -0.1, width).tolist()
    high = np.linspace(0.2, 0.9, width).tolist()
    return {
        "action": {
            "q01": low,
            "q99": high,
            "min": [-1.0] * width,
            "max": [2.0] * width,
            "mask": [True] * (width - 1) + [False],
        },
        "proprio": {"q01": [-1.0] * 8, "q99": [1.0] * 8, "min": [-2.0] * 8, "max": [2.0] * 8},
    }


def test_actions_are_unnormalised_between_the_quantiles_and_the_gripper_passes() -> None:
    bounds = read_statistics({"suite": entry()}).action
    actions = np.array([[-1.0] * 7, [1.0] * 7, [0.0] * 6 + [0.37]])
    ours = unnormalise_actions(actions, bounds)
    np.testing.assert_allclose(ours[0, :6], bounds.low[:6], atol=1e-6)
    np.testing.assert_allclose(ours[1, :6], bounds.high[:6], atol=1e-6)
    assert ours[:, 6].tolist() == [-1.0, 1.0, np.float32(0.37)]
    assert ours.dtype == np.float32


@given(arrays(np.float64, (3, 7), elements=st.floats(-2, 2)))
def test_unnormalising_does_not_clip(actions: np.ndarray) -> None:
    bounds = read_statistics({"suite": entry()}).action
    back = unnormalise_actions(actions, bounds).astype(float)
    span = bounds.high - bounds.low + 1e-8
    again = np.where(bounds.mask, 2 * (back - bounds.low) / span - 1, back)
    np.testing.assert_allclose(again, actions, atol=1e-5)


def test_min_and_max_are_the_bounds_where_the_platform_says_so() -> None:
    statistics = read_statistics({"aloha": entry(14)}, kind="min_max")
    assert len(statistics.action) == 14
    assert statistics.action.low.tolist() == [-1.0] * 14
    assert statistics.action.high.tolist() == [2.0] * 14


def test_a_suite_finds_its_data_set() -> None:
    several = {"libero_goal_no_noops": entry(), "libero_10_no_noops": entry(), "own": entry()}
    assert read_statistics(several, "libero_10").key == "libero_10_no_noops"
    assert read_statistics(several, "libero_10_no_noops").key == "libero_10_no_noops"
    assert read_statistics(several, "own").key == "own"
    assert read_statistics({"own": entry()}).key == "own"


@pytest.mark.parametrize("key", [None, "libero_spatial"])
def test_an_unknown_suite_is_answered_with_those_there_are(key: str | None) -> None:
    several = {"libero_goal_no_noops": entry(), "libero_10_no_noops": entry()}
    with pytest.raises(UserError, match="libero_10_no_noops, libero_goal_no_noops"):
        read_statistics(several, key)


def test_a_single_data_set_does_not_answer_to_another_name() -> None:
    with pytest.raises(UserError, match=r"'libero_goal'.*libero_10_no_noops"):
        read_statistics({"libero_10_no_noops": entry()}, "libero_goal")


def test_broken_statistics_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset_statistics.json"
    with pytest.raises(UserError, match="does not exist"):
        read_statistics(path)
    path.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_statistics(path)
    broken = entry()
    del broken["action"]["q99"]
    path.write_text(json.dumps({"suite": broken}))
    with pytest.raises(UserError, match=r"suite.action has no 'q99'"):
        read_statistics(path)
    broken = entry()
    broken["action"]["q01"][2] = 9.0
    with pytest.raises(UserError, match="not above"):
        read_statistics({"suite": broken})


def test_the_published_statistics_are_read() -> None:
    statistics = read_statistics(published_folder() / "dataset_statistics.json", "libero_10")
    assert statistics.action.mask.tolist() == [True] * 6 + [False]
    assert statistics.proprio is not None
    assert len(statistics.proprio) == 8
    assert statistics.proprio.mask.all()
