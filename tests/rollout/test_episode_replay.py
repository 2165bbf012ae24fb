"""Stored contacts against a recount that shares nothing with the monitor: replay, and a plain loop.

Stock tensorflow_datasets reads the episode, its stored actions are executed again, and after every
physics substep each MuJoCo contact is looked at one by one, by the names of its bodies.
"""

from functools import partial

import mujoco
import numpy as np
import pytest
import tensorflow_datasets as tfds

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.environment.perturbation import PerturbationSpec
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task
from tests.helpers.rollout_samples import run_here

pytestmark = pytest.mark.libero

MIN_FORCE = 1.0  # N


def stored_contacts(folder) -> tuple[np.ndarray, dict[tuple, float]]:
    """Actions, and the peak force of each of the robot's own contacts, of the only episode."""
    builder = tfds.builder_from_directory(str(folder))
    (episode,) = builder.as_data_source("train")  # pyright: ignore[reportCallIssue]
    actions, found = [], {}
    for index, step in enumerate(episode["steps"]):
        actions.append(step["action"])
        contacts = step["contacts"]
        for row in np.flatnonzero(np.logical_not(contacts["grasped"])):
            pair = (contacts["robot_body"][row].decode(), contacts["obstacle_body"][row].decode())
            key = (index, *pair, bool(contacts["harmful"][row]))
            found[key] = float(contacts["peak_force"][row])
    return np.stack(actions), found


def replayed_contacts(key: EpisodeKey, actions: np.ndarray) -> dict[tuple, float]:
    """The same, found again; only fingers on the object that the task names first are meant."""
    task = load_task(key.suite, key.task_id)
    environment = Environment(task, find_assets("lite"), render="none")
    environment.reset(key.initial_state, key.seed, 10)
    model, data = environment.model, environment.data
    wanted = f"{environment.parsed_problem['obj_of_interest'][0]}_"
    force, found = np.zeros(6), {}

    def look(step: int) -> None:
        for index in range(data.ncon):
            contact = data.contact[index]
            names = [model.body(model.geom_bodyid[geom]).name for geom in contact.geom]
            robot = [name.startswith(("robot0", "gripper0")) for name in names]
            if robot[0] == robot[1]:
                continue
            mujoco.mj_contactForce(model, data, index, force)
            if force[0] < MIN_FORCE:
                continue
            link, other = names if robot[0] else names[::-1]
            meant = "finger" in link and other.startswith(wanted)
            seen = (step, link, other, not meant)
            found[seen] = max(found.get(seen, 0.0), float(force[0]))

    for step, action in enumerate(actions):
        environment.substep_observers[:] = [partial(look, step)]
        environment.step(action)
    environment.close()
    return found


@pytest.mark.parametrize(
    ("suite", "task_id", "state", "kind"),
    [
        ("libero_spatial", 3, 2, "rotation"),
        ("libero_object", 5, 0, "rotation"),
        ("libero_object", 1, 0, "none"),
    ],
)
def test_a_replay_finds_every_stored_contact_and_no_other(tmp_path, suite, task_id, state, kind):
    config = WorkerConfig(assets="lite", model="expert", min_force=MIN_FORCE)
    key = EpisodeKey(suite, task_id, state, seed=0)
    perturbation = PerturbationSpec(kind, onset=(15, 15), length=(50, 50), strength=(0.9, 0.9))
    episode = run_here(Worker(config), EpisodeSpec(key, "expert", perturbation))
    info = DatasetInfo(model="expert", assets="lite", suites=(suite,))
    with EpisodeWriter(tmp_path, info) as writer:
        writer.append(episode)
    actions, stored = stored_contacts(tmp_path)
    found = replayed_contacts(key, actions)
    assert any(harmful for *_, harmful in stored) == (kind != "none")
    assert len(stored) > 30
    assert set(stored) == set(found)
    for each, force in found.items():
        assert stored[each] == pytest.approx(force, rel=1e-5)
