"""What a risk head remembers is each running episode's own, whatever runs beside it."""

from typing import Any

import numpy as np
import pytest
from ray import cloudpickle

from mist_jax.rollout.acting.arm import Controller
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import Turn, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run_episodes
from mist_jax.rollout.source import Listed
from tests.helpers import rollout_samples
from tests.helpers.rollout_samples import (
    DIES_ONCE,
    LONG_PROMPT,
    NOT_A_NUMBER,
    SMALL,
    ScriptedWorker,
    inputs_of,
    spec,
)
from tests.helpers.toy_reader import ToyReader, toy_risk

SITES = ("llm.resid", "llm.resid:steps", "vision.dino")


def actor_of(policy, batch_size) -> PolicyActor:
    reader: Any = ToyReader.of({site: (1, policy.sites[site].width) for site in SITES}, layer=2)
    vectors = np.zeros((1, SMALL.layers, SMALL.width), np.float32)
    controller = Controller(vectors, np.ones((1, 14)), reader)
    return PolicyActor(policy, batch_size, sites=SITES, controller=controller)


def test_risk_is_that_of_the_episodes_own_past_whoever_is_lost_and_whoever_is_beside(
    policy, tmp_path
):
    cloudpickle.register_pickle_by_value(rollout_samples)
    specs = [spec(state=state) for state in (0, 1, LONG_PROMPT, NOT_A_NUMBER)]
    specs.append(spec(DIES_ONCE, 5))  # begins anew after its second query
    runs = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        actor = actor_of(policy, 2)
        config = WorkerConfig(assets="lite", model=str(folder))
        with Fleet(config, workers, worker_class=ScriptedWorker) as fleet:
            runs.append({one.key: one for one in run_episodes(Listed(specs), fleet, actor)})
            assert fleet.replaced == 1
        assert not actor._pasts, "what has ended is forgotten"  # pyright: ignore
    for key, episode in runs[0].items():
        if key.initial_state == NOT_A_NUMBER:
            assert episode.outcome == runs[1][key].outcome == "crashed"
            continue
        np.testing.assert_array_equal(episode.queries.risk, runs[1][key].queries.risk)
        assert episode.queries.risk.shape == (3, 14)
        memory = None
        reader: Any = actor._risk_head  # pyright: ignore
        for query, step in enumerate(episode.queries.step):
            stored = {site: episode.queries.activations[site][[query]] for site in SITES}
            proprio = inputs_of(key, int(step)).proprio[None]
            expected, memory = toy_risk(reader, stored, proprio, memory)
            np.testing.assert_allclose(episode.queries.risk[[query]], expected, atol=1e-5)
        alone, _ = toy_risk(reader, stored, proprio)
        assert np.abs(alone - expected).max() > 0.01, "the past matters"


def test_a_query_out_of_turn_is_an_error_and_a_first_one_begins_anew(policy):
    actor, key = actor_of(policy, 1), spec().key

    def risk(query: int) -> np.ndarray:
        return actor.answer([Turn(key, 8 * query, inputs=inputs_of(key, 0))], [query])[0].risk

    first, second = risk(0), risk(1)
    assert np.abs(first - second).max() > 0.01
    with pytest.raises(ValueError, match="query 1 was asked where 2 is the next"):
        risk(1)
    np.testing.assert_array_equal(risk(0), first)
    np.testing.assert_array_equal(risk(1), second)
