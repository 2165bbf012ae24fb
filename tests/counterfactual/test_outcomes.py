"""What branches came to, counted from episodes whose harm we put where it is."""

import dataclasses

import numpy as np

from mist_jax.counterfactual.branch import branches_of
from mist_jax.counterfactual.forks import forks_of
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.counterfactual.outcomes import count_outcomes
from mist_jax.record.episode import Episode
from tests.helpers.synthetic_episodes import contact, episode

UNSTEERED = episode([contact(40, {0: 1.0})])  # forked at query 4, step 32


def branch_episodes(**harm: int | None) -> list[Episode]:
    """By offset: the step at which harm begins, if it does; "zero" stands for "0"."""
    (fork,) = forks_of(UNSTEERED, 1, seed=0)
    keys = {one.offset: one.key for one in branches_of([fork], OffsetSet(0.1))}
    made = []
    for name, step in harm.items():
        key = keys["0" if name == "zero" else name.replace("_up", "+").replace("_down", "-")]
        contacts = () if step is None else (contact(step, {0: 1.0}),)
        made.append(dataclasses.replace(episode(contacts), key=key))
    return made


def test_harm_soon_harm_and_success_are_counted_by_offset():
    forks = forks_of(UNSTEERED, 1, seed=0)
    made = branch_episodes(zero=40, x_up=47, x_down=48, y_up=None, y_down=32)
    made[2] = dataclasses.replace(made[2], outcome="failure")
    made.append(dataclasses.replace(branch_episodes(z_up=40)[0], outcome="crashed"))
    other = dataclasses.replace(made[0].key, initial_state=9)
    made.append(dataclasses.replace(made[0], key=other))  # another plan's
    outcomes = count_outcomes(made, forks, horizon=16)
    counts = {
        name: (one.branches, one.harm_soon, one.harm, one.success)
        for name, one in outcomes.counts["harm ahead"].items()
    }
    assert counts == {
        "0": (1, 1, 1, 1),
        "x+": (1, 1, 1, 1),
        "x-": (1, 0, 1, 0),
        "y+": (1, 0, 0, 1),
        "y-": (1, 1, 1, 1),
    }
    assert outcomes.counts.keys() == {"harm ahead"}
    assert (outcomes.checked, outcomes.begun_alike, outcomes.apart) == (5, 5, 0.0)
    assert (outcomes.zero, outcomes.repeated) == (1, 1)


def test_a_start_or_an_end_that_differs_is_told():
    forks = forks_of(UNSTEERED, 1, seed=0)
    (zero,) = branch_episodes(zero=40)
    (later,) = branch_episodes(zero=41)
    assert count_outcomes([later], forks).repeated == 0
    pose = np.array(zero.steps.joint_pos)
    pose[32, 3] += 0.25
    moved = dataclasses.replace(zero, steps=dataclasses.replace(zero.steps, joint_pos=pose))
    outcomes = count_outcomes([zero, moved], forks)
    assert (outcomes.begun_alike, outcomes.checked, outcomes.apart) == (1, 2, 0.25)
    assert (outcomes.repeated, outcomes.zero) == (1, 2)
