"""Prefixes: what follows one, replayed or gone back to, is what followed it the first time."""

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
from ray import cloudpickle

from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.expert_actor import ExpertActor
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run_episodes
from mist_jax.rollout.source import Listed
from mist_jax.rollout.worker import Worker
from mist_jax.simulator.environment.perturbation import PerturbationSpec
from tests.helpers import rollout_samples
from tests.helpers.episode_samples import assert_equal
from tests.helpers.rollout_samples import DIES_ONCE, ScriptedWorker, run_here, spec

CONFIG = WorkerConfig(
    assets="lite",
    model="m",
    camera_res=32,
    render="fast",
    preprocessor=cast(Any, lambda observation, instruction: None),
)


def go_on(worker: Worker, one: EpisodeSpec, commanded: np.ndarray):
    """Executes given actions float32 [N, A] from the prefix on, then stands still."""
    turn = worker.start(one)
    motions = [turn.motion]
    while turn.episode is None:
        chunk = commanded[turn.step : turn.step + 8]
        turn = worker.act(chunk if len(chunk) else np.zeros((8, commanded.shape[1]), np.float32))
        motions.append(turn.motion)
    return turn.episode, motions


@pytest.mark.libero
def test_a_branch_goes_on_bit_for_bit_replayed_or_restored_held_objects_and_contacts_included():
    """The oracle is the expert's whole episode, run without any fork; a perturbation acts in it."""
    key = EpisodeKey("libero_spatial", 3, 2, 0)
    disturbed = PerturbationSpec("rotation", onset=(15, 15), length=(60, 60), strength=(0.9, 0.9))
    expert = Worker(WorkerConfig(assets="lite", model="m"))
    whole = run_here(expert, EpisodeSpec(key, "expert", disturbed))
    expert.close()
    assert any(contact.harmful for contact in whole.contacts)
    assert whole.steps.perturbed.any()
    held = np.flatnonzero(whole.steps.grasped >= 0)
    touched = {contact.step for contact in whole.contacts if not contact.onset}
    fork = next(step for step in held if step % 8 == 0 and step in touched)
    assert whole.contacts[0].step < fork < len(whole.steps) - 16
    branch = EpisodeSpec(
        dataclasses.replace(key, arm="branch:9:0"),
        perturbation=disturbed,
        prefix=whole.steps.commanded[:fork],
    )
    worker = Worker(CONFIG)
    replayed, motions = go_on(worker, branch, whole.steps.commanded)
    assert_equal(replayed.steps, whole.steps)
    assert_equal(tuple(replayed.contacts), tuple(whole.contacts))
    assert (replayed.outcome, replayed.key) == (whole.outcome, branch.key)
    assert motions[0] == pytest.approx(whole.steps.action[fork - 8 : fork].mean(axis=0))

    # Back to the kept state, after the same scene went on elsewhere and another was run.
    other = dataclasses.replace(branch, key=dataclasses.replace(key, arm="branch:9:x+"))
    elsewhere, _ = go_on(worker, other, -whole.steps.commanded)
    assert len(elsewhere.steps) > fork
    assert not np.array_equal(elsewhere.steps.joint_pos[-1], whole.steps.joint_pos[-1])
    go_on(worker, EpisodeSpec(dataclasses.replace(key, initial_state=5)), whole.steps.commanded * 0)
    worker._begin = cast(Any, None)  # what would replay
    restored, again = go_on(worker, branch, whole.steps.commanded)
    assert_equal(restored, replayed)
    assert_equal(tuple(again), tuple(motions))
    worker.close()


@pytest.mark.libero
def test_a_chunk_of_no_action_is_refused_rather_than_asked_about_for_ever():
    worker = Worker(CONFIG)
    worker.start(spec())
    with pytest.raises(ValueError, match="a chunk has at least one action"):
        worker.act(np.zeros((0, 7), np.float32))
    worker.close()


@pytest.mark.libero
def test_pictures_are_kept_from_the_fork_on():
    chunk = np.zeros((16, 7), np.float32)
    worker = Worker(CONFIG)
    turn = worker.start(EpisodeSpec(spec().key, images="query", prefix=chunk))
    assert turn.step == 16
    turn = worker.act(chunk[:8])
    images = worker._recording.steps().images["agentview"]
    assert [step for step, jpeg in enumerate(images) if jpeg] == [16]
    plain = EpisodeSpec(spec().key, prefix=chunk)
    for wrong in (
        dataclasses.replace(plain, images="step"),
        dataclasses.replace(plain, acting="expert"),
        dataclasses.replace(plain, label=True),
    ):
        with pytest.raises(ValueError, match="a prefix has no pictures"):
            worker.start(wrong)
    worker.close()


@pytest.mark.libero
def test_an_episode_that_ends_within_its_prefix_is_an_error():
    worker = Worker(CONFIG)
    with pytest.raises(ValueError, match="the episode ends within its prefix"):
        worker.start(EpisodeSpec(spec().key, prefix=np.zeros((300, 7), np.float32)))
    worker.close()


def test_forks_are_told_apart_by_scene_perturbation_and_prefix_alone():
    prefix = np.zeros((8, 7), np.float32)
    one = EpisodeSpec(spec().key, prefix=prefix)
    arm = dataclasses.replace(one, key=dataclasses.replace(one.key, arm="x"), images="query")
    assert one.fork == arm.fork is not None
    assert spec().fork is None
    others = (
        dataclasses.replace(one, key=dataclasses.replace(one.key, seed=1)),
        dataclasses.replace(one, perturbation=PerturbationSpec("noop")),
        dataclasses.replace(one, prefix=prefix + 0.1),
        dataclasses.replace(one, prefix=prefix[:0]),
    )
    assert len({one.fork, *(other.fork for other in others)}) == 5


class Counting(ExpertActor):
    """Notes how many answers an episode ended with."""

    def __init__(self):
        self.counts = {}

    def finish(self, episode, answers):
        self.counts[episode.key.seed] = len(answers)
        return episode


def test_a_branch_whose_worker_dies_forgets_the_answers_of_the_first_try(tmp_path):
    cloudpickle.register_pickle_by_value(rollout_samples)
    config = WorkerConfig(assets="lite", model=str(tmp_path))
    actor, prefix = Counting(), np.zeros((16, 7), np.float32)
    specs = [dataclasses.replace(spec(seed), prefix=prefix) for seed in (DIES_ONCE, 0)]
    with Fleet(config, 2, worker_class=ScriptedWorker) as fleet:
        episodes = list(run_episodes(Listed(specs), fleet, actor))
        assert fleet.replaced == 1
    cloudpickle.unregister_pickle_by_value(rollout_samples)
    assert {episode.outcome for episode in episodes} == {"failure"}
    assert actor.counts == {DIES_ONCE: rollout_samples.TURNS, 0: rollout_samples.TURNS}
