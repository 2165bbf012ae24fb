"""collect_branches refuses at the start what cannot be branched, in one line."""

import dataclasses

import pytest

from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.loading import find_policy
from mist_jax.policy.checkpoint import read_card
from tests.experiments.test_early_refusals import refusal
from tests.helpers.synthetic_episodes import contact, episode

NANO = read_card(find_policy("mist-nano")).identity
INFO = DatasetInfo(NANO, "lite", ("libero_spatial",))


def stored(folder, info: DatasetInfo = INFO):
    made = episode([contact(40)], model=info.model)
    queries = dataclasses.replace(made.queries, activations={}, layers={})
    with EpisodeWriter(folder, info) as writer:
        writer.append(dataclasses.replace(made, queries=queries))
    return folder


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--offset_size=0.5", "1.25 action units a step, and the most is 1"),
        ("--offset_size=0", "the first is above 0"),
        ("--model_name=mist-nano-object", f"and {NANO} acted in the collection"),
        ("--model_name=expert", "branches go on with the policy that began"),
        ("--assets=libero", "the collection is on lite assets"),
        ("--env=libero_object", "the collection is of libero_spatial"),
        ("--camera_res=128", "the collection has 256"),
        ("--render=fast", "the collection has exact"),
        ("--save_video=all", "have no pictures"),
        ("--sites=nonsense", "unknown site 'nonsense'"),
        ("--initial_states=7777777", "initial state"),
    ],
)
def test_what_does_not_fit_the_collection_is_refused(tmp_path, flag, expected):
    data, out = stored(tmp_path / "data"), tmp_path / "out"
    said = refusal("collect_branches", f"--data_dir={data}", f"--save_dir={out}", flag)
    assert expected in said
    assert not out.exists()


def test_branches_of_branches_and_other_folders_are_refused(tmp_path):
    data = stored(tmp_path / "data")
    info = dataclasses.replace(INFO, kind="branches")
    branches = stored(tmp_path / "branches", info)
    out = f"--save_dir={tmp_path / 'out'}"
    assert "holds branches" in refusal("collect_branches", f"--data_dir={branches}", out)
    said = refusal("collect_branches", f"--data_dir={data}", f"--save_dir={data}")
    assert "the folder of a collection, not of new branches" in said
    other = stored(tmp_path / "other", dataclasses.replace(INFO, perturbation="mixed (o)"))
    drawn = stored(tmp_path / "drawn", dataclasses.replace(INFO, setup={"render": "fast"}))
    for unlike in (other, drawn):
        said = refusal("collect_branches", f"--data_dir={data},{unlike}", out)
        assert "branch each by itself" in said
    assert "cannot be read" in refusal("collect_branches", f"--data_dir={other}", out)
