"""The runs that the fault runner kills: whole drivers with real fleets, files and a tiny policy."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from ray import cloudpickle

from mist_jax.episodes import writer
from mist_jax.episodes.dataset_info import DatasetInfo, Site
from mist_jax.evaluation.evaluate import EvaluationPlan, evaluate
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.loading import load_policy
from mist_jax.rollout.acting.arm import Controller, Unsteered
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.attempts import Quotas
from mist_jax.rollout.collection import CollectionPlan, collect
from mist_jax.rollout.episode_spec import WorkerConfig
from mist_jax.rollout.fleet import Fleet
from tests.helpers import rollout_samples
from tests.helpers.rollout_samples import SMALL, WELL, ScriptedWorker

EPISODES = 24
SUITE, MODEL, SITES = "libero_spatial", "scripted", {"llm.resid": Site((1,), SMALL.width)}


class Noisy(Unsteered):
    """An arm whose actions are drawn: equal episodes prove that the drawing is repeated too."""

    def edit(self, actions, said, turn, rng):
        return np.clip(actions + rng.normal(0, 0.1, actions.shape), -1, 1)


def drive(kind: str, policy: Path, starts: Path, output: Path, temporary: Path) -> None:
    """One run of a `kind` ("collection" or "evaluation") into `output`, from where it stands.

    Workers note their process ids in `starts`; temporary files go to `temporary`, and what is
    printed to a file beside `output`.
    """
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
    with output.with_suffix(".log").open("a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    cloudpickle.register_pickle_by_value(rollout_samples)
    writer._EPISODES_PER_SHARD = 5  # pyright: ignore[reportPrivateUsage]
    model = load_policy(policy)
    actor = PolicyActor(
        model,
        2,
        sites=tuple(SITES),
        layers=SITES["llm.resid"].layers,
        controller=Controller(
            np.zeros((1, SMALL.layers, SMALL.width), np.float32),
            np.ones((1, 14), np.float32),
            RiskHead.off(sites={"llm.resid": SMALL.width}),
        ),
        arms={"none": Unsteered(), "safe_stop": Noisy(name="safe_stop")},
    )

    def start_fleet() -> Fleet:
        config = WorkerConfig(assets="lite", model=str(starts))
        return Fleet(config, 2, worker_class=ScriptedWorker)

    if kind == "collection":
        info = DatasetInfo(model=MODEL, assets="lite", suites=(SUITE,), sites=SITES)
        states = tuple(range(EPISODES // 2))
        plan = CollectionPlan(
            output,
            info,
            SUITE,
            {0: states, 1: states},
            WELL,
            Quotas(max_attempts=EPISODES // 2),
        )
        collect(plan, start_fleet, actor)
        return
    states = tuple(range(EPISODES // 2))
    evaluate(
        EvaluationPlan(
            directory=output,
            info=RunSetup(model=MODEL, assets="lite").dataset_info(SUITE, 8, SITES),
            suite=SUITE,
            initial_states={0: states},
            n_episodes=len(states),
            seed=WELL,
            arms=("none", "safe_stop"),
        ),
        start_fleet,
        actor,
    )
