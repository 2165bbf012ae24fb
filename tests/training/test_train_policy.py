"""Behaviour cloning: samples are what the expert did, training learns and can be resumed."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.episodes.dataset_info import DatasetInfo, load_info
from mist_jax.episodes.index import read_index
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.loading import load_policy
from mist_jax.policy.preprocessing.gripper import gripper_for_environment, gripper_for_policy
from mist_jax.policy.preprocessing.statistics import Bounds, unnormalise_actions
from mist_jax.record.observation import CAMERAS
from mist_jax.training.augmentation import random_crop
from mist_jax.training.behaviour_cloning import CloningSpec, cloning_steps
from mist_jax.training.cloning_data import normalise_actions
from mist_jax.training.dagger import Dagger
from mist_jax.training.samples import SampleSpec, objects_of_interest, samples_of
from mist_jax.training.train import Training, TrainingPlan
from tests.helpers.episode_samples import random_episode
from tests.helpers.tiny import TINY

INFO = DatasetInfo(
    model="expert", assets="lite", suites=("libero_spatial",), images="step", camera_res=32
)
CONFIG = dataclasses.replace(TINY, vocab_size=528, prompt_capacity=36)
RECIPE = "mist_jax/training/recipes/mist_nano.py"
SPEC = SampleSpec(image_size=28, chunk=8)


def demonstration(seed: int = 0, steps: int = 12):
    episode = random_episode(INFO, seed, steps=steps, queries=0)
    names = ("akita_black_bowl_1", "other", "plate_1")
    return dataclasses.replace(episode, object_names=names, outcome="success")


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    with EpisodeWriter(folder, INFO) as writer:
        for seed in range(2):
            writer.append(demonstration(seed))
    return folder


def plan(demonstrations: Path, output: Path, steps: int = 4) -> TrainingPlan:
    return TrainingPlan(
        name="tiny",
        config=CONFIG,
        cloning=CloningSpec(steps=steps, batch_size=4, warmup=2, learning_rate=3e-3),
        data_dirs=(demonstrations,),
        output_dir=output,
        log_every=2,
        save_every=2,
        decode_workers=1,
    )


def test_a_sample_is_what_the_expert_did_next_and_where_the_task_lies():
    episode = demonstration()
    samples = samples_of(episode, SPEC)
    assert samples.images.shape == (12, 2, 28, 28, 3)
    np.testing.assert_array_equal(samples.actions[2], episode.steps.commanded[2:10])
    last = episode.steps.commanded[-1]
    np.testing.assert_array_equal(samples.actions[9, 3:], np.repeat(last[None], 5, axis=0))
    bowl = episode.steps.object_pose[5, 0, :3] - episode.steps.eef_pos[5]
    plate = episode.steps.object_pose[5, 2, :3] - episode.steps.eef_pos[5]
    np.testing.assert_allclose(samples.landmark[5], [bowl, plate], rtol=1e-6)


def test_a_query_labelled_by_the_expert_is_learnt_from_instead_of_what_the_policy_did():
    info = dataclasses.replace(INFO, images="query")
    episode = random_episode(info, 3, steps=20, queries=2)
    frames = {
        camera: tuple(kept[step] for step in episode.queries.step)
        for camera, kept in episode.steps.images.items()
    }
    labels = np.random.default_rng(0).uniform(-1, 1, (2, 8, 7)).astype(np.float32)
    queries = dataclasses.replace(episode.queries, expert=labels, images=frames)
    samples = samples_of(dataclasses.replace(episode, queries=queries), SPEC)
    np.testing.assert_array_equal(samples.actions, labels)
    assert len(samples.images) == 2


def test_an_episode_without_pictures_is_refused():
    episode = random_episode(dataclasses.replace(INFO, images="none"), 0, queries=0)
    with pytest.raises(UserError, match="collect it with --images=step"):
        samples_of(episode, SPEC)


def test_objects_of_interest_are_those_of_the_bddl_file(tmp_path):
    file = tmp_path / "task.bddl"
    file.write_text("(define (problem x)\n (:obj_of_interest\n  bowl_1\n  plate_1\n )\n (:init))")
    assert objects_of_interest(file) == ("bowl_1", "plate_1")


def test_normalised_training_actions_come_back_as_the_environments():
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (5, 8, 7)).astype(np.float32)
    actions[..., 6] = np.sign(actions[..., 6])
    mask = np.array([True] * 6 + [False])
    bounds = Bounds(np.full(7, -0.7), np.full(7, 0.9), mask)
    normal = normalise_actions(gripper_for_policy(actions), bounds)
    back = gripper_for_environment(unnormalise_actions(normal, bounds))
    np.testing.assert_allclose(back, actions, atol=1e-6)


def test_a_random_crop_of_a_ramp_is_a_ramp_of_the_crops_slope():
    ramp = np.broadcast_to(np.linspace(0, 1, 28)[None, :, None], (28, 28, 3))
    cropped = np.asarray(random_crop(jnp.stack([ramp] * 4), jax.random.key(0)))
    slope = np.diff(cropped[:, 0, :, 0], axis=1)
    np.testing.assert_allclose(slope, 0.9**0.5 / 27, rtol=2e-3)
    assert np.ptp(cropped[:, 0, 0, 0]) > 1e-3


def test_a_policy_in_training_sees_the_world_as_the_one_it_leaves(demonstrations, tmp_path):
    odd = dataclasses.replace(
        CONFIG, jpeg_round_trip=False, center_crop=False, action_bounds="min_max", images=1
    )
    training = Training(dataclasses.replace(plan(demonstrations, tmp_path, steps=1), config=odd))
    now = training.policy().preprocessor
    training._save_policy()
    later = load_policy(tmp_path / "policy").preprocessor
    assert now.images == later.images
    assert (now.images.jpeg_round_trip, now.images.center_crop) == (False, False)
    assert now.cameras == later.cameras == CAMERAS[:1]
    np.testing.assert_array_equal(now.statistics.action.high, later.statistics.action.high)
    table = training.statistics_table["tiny_demonstrations"]["action"]
    np.testing.assert_array_equal(now.statistics.action.high, table["max"])
    assert now.tokenizer.terminator_id == later.tokenizer.terminator_id == odd.empty_token_id


def test_training_learns_and_leaves_a_policy_that_loads(demonstrations, tmp_path):
    card = Training(plan(demonstrations, tmp_path, steps=60)).run()
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(row)["action_l1"] for row in rows]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])
    policy = load_policy(tmp_path / "policy")
    assert policy.identity == card.identity
    assert card.provenance["demonstration_steps"] == 24
    states = {e.key.initial_state for e in read_index(demonstrations) if e.outcome != "crashed"}
    told = card.provenance["trained_scenes"]["libero_spatial"]
    assert set(parse_ids(told, 50, "initial state")) == states


def test_an_interrupted_run_goes_on_to_the_same_parameters(demonstrations, tmp_path, monkeypatch):
    straight = Training(plan(demonstrations, tmp_path / "straight"))
    straight.run()
    interrupted = Training(plan(demonstrations, tmp_path / "interrupted"))
    monkeypatch.setattr(Training, "_save_policy", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    monkeypatch.undo()
    resumed = Training(plan(demonstrations, tmp_path / "interrupted"))
    assert int(resumed.state.step) == 2
    resumed.run()
    for one, other in zip(
        jax.tree.leaves(straight.state), jax.tree.leaves(resumed.state), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.nightly
def test_pieces_of_a_run_are_the_run_by_one_program(demonstrations, tmp_path):
    finals, sums, programs = [], [], set()
    for pieces in ((5,), (2, 3)):
        training = Training(plan(demonstrations, tmp_path / str(len(pieces)), steps=5))
        state, data, total = training.state, training._data(), 0.0
        for steps in pieces:
            given = CONFIG, training.plan.cloning, state, data, jax.random.key(0), steps
            programs.add(cloning_steps.lower(*given).as_text())
            state, means = cloning_steps(*given)
            total += steps * float(means["action_l1"])
        finals.append(state)
        sums.append(total)
    for one, other in zip(*map(jax.tree.leaves, finals), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    assert len(programs) == 1


def _interrupt(_: Training) -> None:
    raise KeyboardInterrupt


@pytest.mark.nightly  # another learning rate is another program
def test_a_run_that_diverges_names_the_flag_to_lower(demonstrations, tmp_path):
    steep = plan(demonstrations, tmp_path)
    steep = dataclasses.replace(
        steep, cloning=dataclasses.replace(steep.cloning, learning_rate=1e30)
    )
    with pytest.raises(UserError, match=r"lower --config\.learning_rate \(now 1e\+30\)"):
        Training(steep).run()


def test_a_folder_of_another_run_is_not_trained_on(demonstrations, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demonstrations, data)
    rounds = Dagger(("libero_spatial",), (0,), (0,), ("lite",), rounds=2, episodes_per_task=1)
    begun = dataclasses.replace(plan(data, tmp_path / "run"), dagger=rounds)
    Training(begun)
    Training(dataclasses.replace(begun, dagger=dataclasses.replace(rounds, num_workers=5)))
    for changed in (
        {"cloning": dataclasses.replace(begun.cloning, steps=5)},
        {"dagger": None},
        {"dagger": dataclasses.replace(rounds, share=0.1)},
        {"name": "other"},
    ):
        with pytest.raises(UserError, match="holds another training run"):
            Training(dataclasses.replace(begun, **changed))
    with EpisodeWriter(data, load_info(data)) as writer:
        writer.append(demonstration(seed=77))
    with pytest.raises(UserError, match="holds another training run"):
        Training(begun)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data_dir=nowhere", "--output_dir=out"], "there is no folder nowhere"),
        (["--output_dir=out"], "data_dir"),
        (["--data_dir=.", "--output_dir=out", "--steps=0"], "steps"),
        (["--data_dir=.", "--output_dir=out", "--preset=gpt"], "mist-nano"),
        (["--data_dir=.", "--output_dir=out", f"--config={RECIPE}", "--config.batch=3"], "batch"),
        (["--data_dir=.", "--output_dir=out", "--config=nowhere.py"], "nowhere.py"),
    ],
)
def test_a_bad_flag_ends_train_policy_with_one_line(flags, message):
    command = [sys.executable, "-m", "experiments.train_policy", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
