"""The policy of a branch: its own answers, moved by the offset in the first queries only."""

import dataclasses

import numpy as np
import pytest

from mist_jax.counterfactual.branch import Branch, branches_of
from mist_jax.counterfactual.branching_actor import BranchingActor
from mist_jax.counterfactual.forks import forks_of
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.loading import load_policy
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import Turn
from tests.helpers.rollout_samples import inputs_of, save_tiny_policy
from tests.helpers.synthetic_episodes import contact, episode

SITE = "llm.resid"


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> PolicyActor:
    folder = tmp_path_factory.mktemp("policy") / "tiny"
    save_tiny_policy(folder)
    return PolicyActor(load_policy(folder), 2, sites=(SITE,))


@pytest.fixture(scope="module")
def branches() -> dict[str, Branch]:
    (fork,) = forks_of(episode([contact(40)], state=2), 1, seed=0)
    return {branch.offset: branch for branch in branches_of([fork], OffsetSet(0.1, 0.5, 2))}


def turn(branch: Branch, query: int, arm: str | None = None) -> Turn:
    key = branch.key if arm is None else dataclasses.replace(branch.key, arm=arm)
    step = branch.fork.step + 8 * query
    return Turn(key, step, inputs=inputs_of(key, step))


def test_an_offset_moves_its_dimension_of_the_first_chunks_and_nothing_else(alone, branches):
    actor = BranchingActor(alone, {one.key: one for one in branches.values()}, queries=2)
    moved = set()
    for branch in branches.values():
        for query in range(3):
            (said,) = actor.answer([turn(branch, query)], [query])
            (own,) = alone.answer([turn(branch, query, "none")], [branch.fork.query + query])
            np.testing.assert_array_equal(said.raw_actions, own.raw_actions)
            np.testing.assert_array_equal(said.activations[SITE], own.activations[SITE])
            if branch.offset == "0" or query == 2:
                assert said.chunk.tobytes() == own.chunk.tobytes()
                assert not said.edited
                continue
            wanted = np.clip(own.chunk + branch.change, -1, 1)  # float32, as is what it adds
            still = branch.change == 0
            np.testing.assert_array_equal(said.chunk[:, ~still], wanted[:, ~still])
            np.testing.assert_array_equal(said.chunk[:, still], own.chunk[:, still])
            assert said.edited == (said.chunk != own.chunk).any()
            if said.edited:
                moved.add((branch.offset[:-1], query))
    assert {query for _, query in moved} == {0, 1}
    assert len({axis for axis, _ in moved}) == 6  # one way of each can move, wherever the chunk is


def test_branches_share_a_batch(alone, branches):
    actor = BranchingActor(alone, {one.key: one for one in branches.values()}, queries=2)
    pair = [turn(branches["x+"], 0), turn(branches["z-"], 2)]
    together = actor.answer(pair, [0, 2])
    for one, query, answer in zip(pair, (0, 2), together, strict=True):
        (apart,) = actor.answer([one], [query])
        np.testing.assert_array_equal(apart.chunk, answer.chunk)
