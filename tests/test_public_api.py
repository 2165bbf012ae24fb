"""`import mist_jax`: what a researcher reaches for is there, short to look at, cheap to import."""

import re
import subprocess
import sys

import numpy as np
import pytest

import mist_jax
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker
from tests.helpers.rollout_samples import run_here


@pytest.mark.parametrize("name", mist_jax.__all__)
def test_every_exported_name_is_there_and_says_what_it_is(name: str):
    exported = getattr(mist_jax, name)
    assert name in dir(mist_jax)
    if callable(exported):
        assert exported.__doc__


def test_the_names_for_type_checkers_are_those_at_run_time():
    source = mist_jax.__file__ or ""
    with open(source, encoding="utf-8") as file:  # noqa: PTH123
        block = file.read().split("if TYPE_CHECKING:")[1].split("_HOME")[0]
    lines = re.findall(r"import (?:\(([^)]*)\)|(.*))", block)
    shown = {name for line in lines for name in re.findall(r"\w+", " ".join(line))}
    assert shown | {"__version__"} == set(mist_jax.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_polixy'"):
        _ = mist_jax.load_polixy  # pyright: ignore[reportAttributeAccessIssue]


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", mist_jax.__version__)


def test_importing_costs_no_jax_and_no_simulator():
    code = "import sys, mist_jax; sys.exit(bool({'jax', 'mujoco', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_printed_at_a_prompt_is_short():
    policy = mist_jax.load_policy("mist-nano")
    for shown in (policy, mist_jax.RiskHead.off(sites={"llm.resid": 8})):
        assert len(repr(shown)) < 300
    assert policy.identity in repr(policy)


@pytest.mark.libero
def test_one_episode_at_a_prompt_is_the_episode_of_a_run():
    one = mist_jax.roll_out(None, "libero_spatial", 0, initial_state=3, assets="lite")
    worker = Worker(WorkerConfig(assets="lite", model="expert"))
    same = run_here(worker, EpisodeSpec(one.key, "expert"))
    assert one.outcome == same.outcome == "success"
    np.testing.assert_array_equal(one.steps.action, same.steps.action)
    np.testing.assert_array_equal(one.steps.object_pose, same.steps.object_pose)


@pytest.mark.libero
@pytest.mark.slow
def test_a_policys_episode_at_a_prompt_keeps_its_activations_and_can_be_labelled():
    policy = mist_jax.load_policy("mist-nano")
    episode = mist_jax.roll_out(
        policy, "libero_spatial", 0, initial_state=31, sites=("llm.resid",),
        assets="lite", render="fast",
    )  # fmt: skip
    resid = policy.sites["llm.resid"]
    shape = (len(episode.queries), resid.layers, resid.width)
    assert episode.queries.activations["llm.resid"].shape == shape
    assert episode.model == policy.identity
    assert len(mist_jax.event_labels(episode).risk) == len(episode.queries)
    assert not np.any(episode.queries.edited)
