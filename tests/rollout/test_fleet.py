"""Workers that die, hang or raise are replaced, and no episode is lost or blamed for it."""

import dataclasses
import logging
import time
from concurrent.futures import Future

import pytest
import ray
from ray import ObjectRef, cloudpickle
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError

from mist_jax.errors import UserError
from mist_jax.record.episode import Episode
from mist_jax.rollout.acting.expert_actor import ExpertActor
from mist_jax.rollout.attempts import Attempts, Quotas
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.fleet import Fleet
from mist_jax.rollout.run import run, run_episodes
from mist_jax.rollout.source import EpisodeSource, Listed
from tests.helpers import rollout_samples
from tests.helpers.rollout_samples import (
    DIES_ONCE,
    HANGS_ONCE,
    RAISES,
    RAISES_ONCE,
    USER_ERROR,
    WELL,
    ScriptedWorker,
    spec,
)


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    """One Ray for all fleets of this module: starting it takes seconds."""
    cloudpickle.register_pickle_by_value(rollout_samples)
    ray.init(
        address="local",
        num_cpus=12,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=80 * 2**20,
    )
    yield
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(rollout_samples)


def fleet(tmp_path, workers=2, **limits):
    config = WorkerConfig(assets="lite", model=str(tmp_path))
    return Fleet(config, workers, worker_class=ScriptedWorker, **limits)


def starts(tmp_path, one):
    path = tmp_path / f"{one.key.initial_state}-{one.key.seed}"
    return path.read_text().split()


def test_every_episode_is_run_once_when_nothing_fails(tmp_path):
    specs = [spec(WELL, state) for state in range(7)]
    with fleet(tmp_path, workers=3) as workers:
        episodes = list(run_episodes(Listed(specs), workers, ExpertActor()))
    assert {episode.key for episode in episodes} == {one.key for one in specs}
    assert len(episodes) == 7
    assert workers.replaced == 0


@pytest.mark.parametrize("failure", [DIES_ONCE, RAISES_ONCE])
def test_a_lost_worker_is_replaced_and_its_episode_run_again(tmp_path, failure):
    with fleet(tmp_path) as workers:
        episodes = list(
            run_episodes(Listed([spec(failure), spec(WELL, 1)]), workers, ExpertActor())
        )
        assert workers.replaced == 1
    assert [episode.outcome for episode in episodes] == ["failure", "failure"]
    first, second = starts(tmp_path, spec(failure))
    assert first != second


def test_a_hanging_worker_is_replaced_after_the_timeout(tmp_path):
    with fleet(tmp_path, timeout=4.0) as workers:
        began = time.monotonic()
        episodes = list(
            run_episodes(Listed([spec(HANGS_ONCE), spec(WELL, 1)]), workers, ExpertActor())
        )
        assert time.monotonic() - began < 60
        assert workers.replaced == 1
    assert {episode.outcome for episode in episodes} == {"failure"}


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("the node was short of memory"),
        NodeDiedError("the node is gone"),
        ObjectLostError(ObjectRef.nil().hex(), b"", ""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_worker_whose_node_or_answer_is_lost_is_replaced(tmp_path, error):
    with fleet(tmp_path, workers=1) as workers:
        workers.start(spec(HANGS_ONCE))
        for _ in range(2):
            (turn,) = workers.wait()
            workers.act(turn.key, None)
        # What Ray says of the call that now hangs.
        (slot,) = workers._slots  # pyright: ignore[reportPrivateUsage]
        lost: Future = Future()
        lost.set_exception(error)
        workers._arrived.put((slot.call, lost))  # pyright: ignore[reportPrivateUsage]
        (again,) = workers.wait()
        assert (again.step, again.episode) == (0, None)
        assert workers.replaced == 1


def test_an_episode_that_always_raises_ends_as_crashed_with_the_error(tmp_path):
    with fleet(tmp_path) as workers:
        episodes = list(run_episodes(Listed([spec(RAISES), spec(WELL, 1)]), workers, ExpertActor()))
    by_seed = {episode.key.seed: episode for episode in episodes}
    assert by_seed[WELL].outcome == "failure"
    crashed = by_seed[RAISES]
    assert crashed.outcome == "crashed"
    assert crashed.error == "RuntimeError: the simulation is unstable"
    assert len(crashed.steps) == 0
    assert crashed.instruction == (
        "pick up the black bowl between the plate and the ramekin and place it on the plate"
    )
    assert len(starts(tmp_path, spec(RAISES))) == 3


@pytest.mark.parametrize("source", ["quotas", "listed"])
def test_with_one_worker_a_crashed_episode_does_not_end_the_run(tmp_path, source):
    def order(key):
        bad = key.initial_state == 0
        return EpisodeSpec(dataclasses.replace(key, seed=RAISES if bad else WELL))

    class Renamed(Attempts):
        def settle(self, episode):
            key = dataclasses.replace(episode.key, seed=0)
            return super().settle(dataclasses.replace(episode, key=key))

    attempts: EpisodeSource = Renamed("libero_spatial", {0: (0, 1, 2)}, 0, Quotas(3, 0, 2), order)
    if source == "listed":
        attempts = Listed([spec(RAISES), spec(WELL, 1), spec(WELL, 2)])
    episodes: list[Episode] = []

    class Keep:
        def put(self, episode):
            episodes.append(episode)

    with fleet(tmp_path, workers=1, max_tries=1) as workers:
        run(attempts, workers, ExpertActor(), [Keep()])
    assert [episode.outcome for episode in episodes] == ["crashed", "failure", "failure"]
    assert attempts.missing == 0
    assert workers.replaced == 1


def test_bad_input_met_by_a_worker_reaches_the_user_at_once(tmp_path):
    with fleet(tmp_path) as workers, pytest.raises(UserError, match="no such thing"):
        list(run_episodes(Listed([spec(USER_ERROR)]), workers, ExpertActor()))


def test_a_fleet_that_does_not_fit_the_cluster_says_so(tmp_path):
    with pytest.raises(UserError, match="of 20 workers started"):
        fleet(tmp_path, workers=20, start_timeout=15.0)


def test_an_unknown_cluster_is_one_clear_line(tmp_path):
    ray.shutdown()
    config = WorkerConfig(assets="lite", model=str(tmp_path))
    try:
        with pytest.raises(UserError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
            Fleet(config, 1, ray_address="127.0.0.1:1")
    finally:
        ray.shutdown()
