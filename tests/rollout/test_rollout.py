"""Rollouts: an episode depends on its key and the policy alone, whoever shares its batch."""

import subprocess
import sys
from typing import Any, cast

import numpy as np
import pytest
from ray import cloudpickle

from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.rollout.acting.arm import Controller, Unsteered
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run_episodes
from mist_jax.rollout.source import Listed
from mist_jax.rollout.worker import Worker
from tests.helpers import rollout_samples
from tests.helpers.rollout_samples import (
    DIES_ONCE,
    SMALL,
    ScriptedWorker,
    inputs_of,
    run_here,
    spec,
)

SITE = "llm.resid"


class Pushing(Unsteered):
    """Always steers with the first direction, and leaves its mark in the chunk."""

    @property
    def threshold(self):
        return np.full(14, -np.inf, np.float32)

    def coefficient(self, turn, query):
        return np.array([40.0], np.float32)

    def edit(self, actions, said, turn, rng):
        return np.concatenate([actions[:, :6], np.full((len(actions), 1), rng.uniform())], axis=1)


@pytest.fixture(scope="module")
def controller():
    vectors = np.random.default_rng(0).standard_normal((1, SMALL.layers, SMALL.width))
    return Controller(vectors, np.ones((1, 14)), RiskHead.off(sites={"llm.resid": SMALL.width}))


def turn(state, step=0, arm="none"):
    key = spec(state=state).key
    key = type(key)(key.suite, key.task_id, key.initial_state, key.seed, arm)
    return Turn(key, step, inputs=inputs_of(key, step))


def assert_same(left, right):
    np.testing.assert_array_equal(left.raw_actions, right.raw_actions)
    np.testing.assert_array_equal(left.chunk, right.chunk)
    np.testing.assert_array_equal(left.risk, right.risk)
    np.testing.assert_array_equal(left.gate, right.gate)
    np.testing.assert_array_equal(left.activations[SITE], right.activations[SITE])


def test_an_answer_does_not_depend_on_its_row_or_its_neighbours(policy, controller):
    arms = {"none": Unsteered(), "push": Pushing(name="push")}
    actor = PolicyActor(policy, 4, sites=(SITE,), controller=controller, arms=arms)
    turns = [turn(0), turn(1, arm="push"), turn(2), turn(3)]
    together = actor.answer(turns, [0] * 4)
    backwards = actor.answer(turns[::-1], [0] * 4)[::-1]
    alone = [actor.answer([one], [0])[0] for one in turns]
    for one, other, third in zip(together, backwards, alone, strict=True):
        assert_same(one, other)
        assert_same(one, third)


def test_steered_and_unsteered_arms_share_a_batch(policy, controller):
    arms = {"none": Unsteered(), "push": Pushing(name="push")}
    actor = PolicyActor(policy, 2, sites=(SITE,), controller=controller, arms=arms)
    plain, pushed = actor.answer([turn(0), turn(0, arm="push")], [0, 0])
    reference = PolicyActor(policy, 2, sites=(SITE,)).answer([turn(0), turn(0)], [0, 0])[0]
    np.testing.assert_array_equal(plain.raw_actions, reference.raw_actions)
    assert np.abs(pushed.raw_actions - plain.raw_actions).max() > 1e-3
    assert (pushed.gate > 0).all()
    assert not plain.gate.any()
    assert 0 < pushed.chunk[0, 6] < 1
    assert (plain.edited, pushed.edited) == (False, True)


def test_the_gripper_reaches_the_environment_binary_and_negated(policy):
    actor = PolicyActor(policy, 1)
    [answer] = actor.answer([turn(0)], [0])
    np.testing.assert_array_equal(answer.chunk[:, 6], -np.sign(2 * answer.raw_actions[:, 6] - 1))
    assert np.abs(answer.chunk).max() <= 1


def test_unknown_layers_and_arms_are_named(policy):
    with pytest.raises(UserError, match="no layer 99: valid ones are 0 to 3"):
        PolicyActor(policy, 1, sites=(SITE,), layers=(99,))
    with pytest.raises(UserError, match="unknown site 'nowhere'; there are llm"):
        PolicyActor(policy, 1, sites=("nowhere",))
    with pytest.raises(UserError, match="no arm 'push': valid ones are none"):
        PolicyActor(policy, 1).answer([turn(0, arm="push")], [0])


def test_a_site_keeps_its_own_layers(policy):
    actor = PolicyActor(policy, 1, sites=(SITE, "vision.dino", "llm.attn:image"), layers=(1, 2))
    [answer] = actor.answer([turn(0)], [0])
    for site, kept in actor.sites.items():
        assert answer.activations[site].shape == (len(kept.layers), kept.width)
    assert actor.sites[SITE].layers == actor.sites["llm.attn:image"].layers == (1, 2)
    assert len(actor.sites["vision.dino"].layers) == policy.sites["vision.dino"].layers


def test_scheduling_does_not_change_an_episode(policy, tmp_path):
    cloudpickle.register_pickle_by_value(rollout_samples)
    runs = []
    for number, workers in enumerate((1, 3)):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = WorkerConfig(assets="lite", model=str(folder))
        specs = [spec(state=state) for state in range(4)] + [spec(DIES_ONCE, 5)]
        actor = PolicyActor(policy, 3, sites=(SITE,), layers=(1, 2))
        with Fleet(config, workers, worker_class=ScriptedWorker) as fleet:
            runs.append({one.key: one for one in run_episodes(Listed(specs), fleet, actor)})
            assert fleet.replaced == 1
    assert runs[0].keys() == runs[1].keys()
    for key, one in runs[0].items():
        other = runs[1][key]
        np.testing.assert_array_equal(one.steps.action, other.steps.action)
        np.testing.assert_array_equal(one.queries.step, [0, 8, 16])
        np.testing.assert_array_equal(one.queries.raw_actions, other.queries.raw_actions)
        activations = one.queries.activations[SITE]
        assert activations.shape == (3, 2, SMALL.width)
        np.testing.assert_array_equal(activations, other.queries.activations[SITE])
        assert one.queries.layers == {SITE: (1, 2)}


def test_workers_need_no_jax():
    code = "import sys, mist_jax.rollout.worker; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.libero
def test_an_expert_episode_is_the_same_after_any_history():
    worker = Worker(WorkerConfig(assets="lite", model="expert"))
    key = spec(state=3).key
    first = run_here(worker, EpisodeSpec(key, "expert"))
    run_here(worker, EpisodeSpec(spec(state=4).key, "expert"))
    again = run_here(worker, EpisodeSpec(key, "expert"))
    assert first.outcome == again.outcome == "success"
    np.testing.assert_array_equal(first.steps.action, again.steps.action)
    np.testing.assert_array_equal(first.steps.object_pose, again.steps.object_pose)
    assert len(first.contacts) == len(again.contacts) > 0


@pytest.mark.libero
def test_labels_and_pictures_leave_an_episode_as_it_is():
    chunk = np.tile(np.array([0.3, 0.1, -0.4, 0, 0, 0.1, -1], np.float32), (8, 1))
    config = WorkerConfig(
        assets="lite",
        model="m",
        camera_res=64,
        render="fast",
        preprocessor=cast(Any, _no_preprocessing),
    )
    worker = Worker(config)
    key = spec(state=1).key
    plain = _steps_of(worker, EpisodeSpec(key), chunk)
    labelled = _steps_of(worker, EpisodeSpec(key, images="query", label=True), chunk)
    np.testing.assert_array_equal(plain, labelled)


def _steps_of(worker, one, chunk, turns=3):
    poses = [worker.start(one).eef_pos]
    poses += [worker.act(chunk).eef_pos for _ in range(turns)]
    return np.stack(poses)


def _no_preprocessing(observation, instruction):
    assert observation.images["agentview"].shape == (64, 64, 3)
    return None
