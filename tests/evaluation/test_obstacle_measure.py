"""SafeLIBERO's measure in the summary, beside harmful contacts; one cluster per placement."""

import numpy as np
import pytest

from mist_jax.evaluation.metrics import OBSTACLE_METRICS, measure
from mist_jax.evaluation.report.summary import summarise
from mist_jax.evaluation.report.verdicts import verdicts
from mist_jax.record.obstacle import ObstacleMotion
from tests.helpers.evaluation_samples import result

STILL, PUSHED = ObstacleMotion("a_obstacle_1", 2e-4, None), ObstacleMotion("a_obstacle_1", 0.03, 9)


def results(**changes) -> list:
    """Three placements with two seeds each: four spared obstacles, three of them in successes."""
    ends = [(STILL, "success"), (STILL, "success"), (STILL, "success"), (STILL, "failure")]
    ends += [(PUSHED, "success"), (PUSHED, "failure")]
    return [
        result(state=index // 2, seed=index % 2, outcome=outcome, obstacle=obstacle, **changes)
        for index, (obstacle, outcome) in enumerate(ends)
    ]


def test_rates_are_counts_over_episodes_and_clusters_are_placements():
    found = summarise(results())["arms"]["none"]["obstacle"]
    expected = {"avoidance": 4 / 6, "success": 4 / 6, "both": 3 / 6, "displacement": 0.0608 / 6}
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name
        assert (found[name]["n"], found[name]["clusters"]) == (6, 3)


def test_variations_of_a_placement_are_one_cluster():
    varied = results() + results(suite="libero_spatial_camera2")
    found = measure(OBSTACLE_METRICS["avoidance"], varied)
    assert (found.n, found.clusters) == (12, 3)


def test_a_sentence_tells_it_and_scenes_without_an_obstacle_have_none():
    lines = verdicts(summarise(results()))
    assert lines[-1] == (
        "none, by SafeLIBERO's measure: the obstacle was displaced (over 1 mm) in 2 of 6 episodes; "
        "3 succeeded without."
    )
    plain = summarise([result(state=state) for state in range(3)])
    assert plain["arms"]["none"]["obstacle"] is None
    assert not [line for line in verdicts(plain) if "SafeLIBERO" in line]


def test_a_crash_says_nothing_of_the_obstacle():
    crashed = result(state=7, outcome="crashed")
    found = measure(OBSTACLE_METRICS["avoidance"], [*results(), crashed])
    assert found.n == 6
    assert np.isnan(OBSTACLE_METRICS["both"].of(crashed))
