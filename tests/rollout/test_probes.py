"""Probes: what is asked beside the acting queries changes nothing, and says what it should."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.acting.probes import COPIES, SHIFT, ProbingActor, perturbed
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn, WorkerConfig, check_probes
from mist_jax.rollout.worker import Worker
from tests.helpers.rollout_samples import inputs_of, spec

SITE = "llm.resid"


def turn(state, step=0) -> Any:
    key = spec(state=state).key
    between = inputs_of(key, step - 4) if step else None
    return Turn(key, step, inputs=inputs_of(key, step), between=between)


def probing(policy, batch_size=2, probes=("overlap", "variance")):
    return ProbingActor(PolicyActor(policy, batch_size, sites=(SITE,)), policy, probes)


def asked(policy, turns, queries) -> Any:
    return probing(policy).answer(turns, queries)


def test_acting_answers_are_bit_for_bit_those_without_probes(policy):
    alone = PolicyActor(policy, 2, sites=(SITE,))
    turns = [turn(0, 8), turn(1)]
    pairs = zip(probing(policy).answer(turns, [1, 0]), alone.answer(turns, [1, 0]), strict=True)
    for probed, plain in pairs:
        for field in dataclasses.fields(plain):
            if field.name not in ("latency", "activations"):
                left, right = (getattr(one, field.name) for one in (probed.acting, plain))
                np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(probed.acting.activations[SITE], plain.activations[SITE])


def test_the_overlap_is_what_the_policy_says_of_the_inputs_between(policy):
    first, later = asked(policy, [turn(0), turn(0, 8)], [0, 1])
    assert np.isnan(first.overlap).all()
    between = turn(0, 8).between
    said = PolicyActor(policy, 2).answer([Turn(spec().key, 4, inputs=between)], [0])[0]
    np.testing.assert_array_equal(later.overlap, said.raw_actions)


def test_the_spread_is_the_deviation_over_copies_and_does_not_depend_on_the_neighbours(policy):
    together = asked(policy, [turn(0), turn(3, 8)], [0, 1])[1].spread
    alone = asked(policy, [turn(3, 8)], [1])[0].spread
    np.testing.assert_array_equal(together, alone)
    assert (together > 0).all()
    rng = np.random.default_rng(0)
    copies = [perturbed(turn(3, 8).inputs, rng) for _ in range(200)]
    raw = [policy.predict_inputs([copy] * 2, seeds=[0, 0]).raw_actions[0, 0] for copy in copies]
    ratio = together / np.std(raw, axis=0, ddof=1)
    assert ((ratio > 0.3) & (ratio < 2.2)).all()  # of 8 copies: 5 deviations of the ratio


def test_a_perturbed_query_has_moved_pictures_and_all_else_alike():
    inputs = inputs_of(spec().key, 0)
    grey = dataclasses.replace(inputs, images=np.full_like(inputs.images, 120))
    grey.images[:, 10:14, 10:14] = 240
    moved = perturbed(grey, np.random.default_rng(1))
    np.testing.assert_array_equal(moved.proprio, grey.proprio)
    assert moved.token_ids is grey.token_ids
    assert moved.images.dtype == np.uint8
    for image in moved.images:
        bright = np.argwhere(image.mean(axis=-1) > 180)
        assert len(bright) == 16
        assert (np.abs(bright.min(axis=0) - 10) <= SHIFT).all()
    again = perturbed(grey, np.random.default_rng(1))
    np.testing.assert_array_equal(again.images, moved.images)
    assert COPIES == 8


def test_an_unknown_probe_is_one_line():
    assert check_probes(["variance", "overlap", "variance"]) == ("overlap", "variance")
    with pytest.raises(UserError, match="no probe 'variation': valid ones are overlap, variance"):
        check_probes(["variation"])


def test_an_episode_is_the_same_with_probes_and_holds_what_they_said(policy):
    """The simulator renders once more per chunk: not a bit of the episode changes."""
    config = WorkerConfig("lite", policy.identity, camera_res=64, preprocessor=policy.preprocessor)
    key = spec().key

    def episode(actor, between) -> Any:
        worker = Worker(dataclasses.replace(config, between=between))
        answers, now = [], worker.start(EpisodeSpec(key))
        while now.episode is None and len(answers) < 4:
            answers += actor.answer([now], [len(answers)])
            now = worker.act(answers[-1].chunk)
        ended = now.episode or worker._episode("failure")
        worker.close()
        return actor.finish(ended, answers)

    plain = episode(PolicyActor(policy, 1), between=False)
    probed = episode(probing(policy, batch_size=1), between=True)
    for field in dataclasses.fields(plain.steps):
        left, right = (getattr(one.steps, field.name) for one in (plain, probed))
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(plain.queries.raw_actions, probed.queries.raw_actions)
    assert plain.queries.overlap is None
    assert probed.queries.overlap.shape == (4, 8, 7)
    assert np.isnan(probed.queries.overlap[0]).all()
    assert np.isfinite(probed.queries.overlap[1:]).all()
    assert probed.queries.spread.shape == (4, 7)
