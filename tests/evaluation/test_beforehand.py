"""What arms know of episodes before they run: it is read right, and of runs that fit alone."""

import dataclasses
import re

import numpy as np
import pytest

from mist_jax.action_units import to_units
from mist_jax.episodes.dataset_info import Site
from mist_jax.episodes.index import dataset_hash
from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.beforehand.oracle import foreseen
from mist_jax.evaluation.earlier_runs import load_oracle, load_replays
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey
from tests.helpers.synthetic_episodes import contact, episode

SETUP = RunSetup(
    model="toy@1", assets="lite", causal_bank="abc", intent="against_motion", coefficient=0.08
)
SIZE = to_units(0.08, 0.4, 8)
TASK = ("libero_spatial", 0)


def hits(step: int, normal: tuple[float, float, float], **told) -> Contact:
    """A harmful onset with this normal, obstacle to robot."""
    return dataclasses.replace(contact(step, {0: 1.0}, **told), normal=np.asarray(normal))


def acted(one: Episode, arm: str, wanted: np.ndarray) -> Episode:
    queries = dataclasses.replace(one.queries, wanted=wanted, realised=wanted)
    return dataclasses.replace(one, key=dataclasses.replace(one.key, arm=arm), queries=queries)


def stored(folder, episodes, setup: RunSetup = SETUP):
    with EpisodeWriter(folder, setup.dataset_info(TASK[0], 8, {"llm.resid": Site((0,), 4)})) as to:
        for one in episodes:
            to.append(one)
    return folder


@pytest.mark.parametrize(
    ("contacts", "steps", "normal"),
    [
        ([hits(37, (0, 0.6, 0.8))], {24, 32}, (0, 0.6, 0.8)),  # within the query of step 32
        ([hits(32, (1, 0, 0))], {24, 32}, (1, 0, 0)),  # its very first step
        ([hits(3, (1, 0, 0))], {0}, (1, 0, 0)),  # there is no query before
        ([hits(37, (0, 1, 0)), hits(70, (1, 0, 0), pair=("hand", "table"))], {24, 32}, (0, 1, 0)),
        (  # two bodies at once: between them
            [hits(37, (0, 1, 0)), hits(37, (1, 0, 0), pair=("link5", "table"))],
            {24, 32},
            (2**-0.5, 2**-0.5, 0),
        ),
        (  # pressed from both sides
            [hits(37, (0, 1, 0)), hits(37, (0, -1, 0), pair=("link5", "table"))],
            set(),
            (0, 0, 0),
        ),
        ([hits(37, (0, 0, 1), harmful=False)], set(), (0, 0, 0)),
        ([], set(), (0, 0, 0)),
    ],
)
def test_an_oracle_foresees_the_first_event_in_its_query_and_the_one_before(
    contacts, steps, normal
):
    found = foreseen(episode(contacts))
    assert found.steps == steps
    np.testing.assert_allclose(found.normal, normal, atol=1e-6)


def test_an_oracle_is_read_from_unsteered_episodes_and_pushes_away_by_the_coefficient(tmp_path):
    hit, clean = episode([hits(37, (0, 0.6, 0.8))], state=1), episode(state=2)
    steered = acted(episode([hits(9, (1, 0, 0))], state=1), "mist", np.zeros((12, 7), "f"))
    folder = stored(tmp_path / "before", [hit, clean, steered])
    oracle, said = load_oracle(folder, SETUP)
    assert said == dataset_hash(folder)

    def change(state: int, step: int) -> np.ndarray:
        return oracle.change(EpisodeKey(*TASK, state, 0, "oracle"), step, SIZE)

    for step in (24, 32):
        np.testing.assert_allclose(change(1, step), [0, 0.12, 0.16, 0, 0, 0, 0], rtol=1e-5)
    assert not any(change(1, step).any() for step in (0, 8, 16, 40))
    assert not any(change(2, step).any() for step in range(0, 96, 8))
    with pytest.raises(UserError, match=r"--oracle_from has no unsteered episode of .* state 3"):
        change(3, 0)


def test_replays_are_what_mist_wanted_and_no_other_arm(tmp_path):
    rng = np.random.default_rng(0)
    told = {state: rng.normal(size=(12, 7)).astype("f") for state in (1, 2)}
    mist = [acted(episode(state=state), "mist", told[state]) for state in told]
    other = acted(episode(state=3), "placebo", np.ones((12, 7), "f"))
    replays, said = load_replays(folder := stored(tmp_path / "before", [*mist, other]), SETUP)
    assert said == dataset_hash(folder)
    for state, source in ((1, 2), (2, 1)):
        key = EpisodeKey(*TASK, state, 0, "replayed")
        heard = np.stack([replays.change(key, query) for query in range(14)])
        np.testing.assert_array_equal(heard[:12], told[source])
        assert not heard[12:].any()


@pytest.mark.parametrize(
    ("changed", "of", "says"),
    [
        ({"coefficient": 0.04}, "replays", "was run with coefficient = 0.08, this run has 0.04"),
        ({"causal_bank": "xyz"}, "replays", "causal_bank = 'abc', this run has 'xyz'"),
        ({"model": "toy@2"}, "replays", "model = 'toy@1', this run has 'toy@2'"),
        ({"model": "toy@2"}, "oracle", "model = 'toy@1', this run has 'toy@2'"),
        ({"dtype": "float8"}, "replays", "dtype = '', this run has 'float8'"),
        ({"batch_size": 8}, "oracle", "batch_size = 1, this run has 8"),
        ({"render": "fast"}, "oracle", "render = 'exact', this run has 'fast'"),
        ({"perturbation": "mixed"}, "oracle", "perturbation = 'none', this run has 'mixed'"),
    ],
)
def test_an_earlier_run_of_another_kind_is_refused(tmp_path, changed, of, says):
    none, mist = episode(state=1), acted(episode(state=2), "mist", np.ones((12, 7), "f"))
    folder = stored(tmp_path / "before", [none, mist])
    load = {"replays": load_replays, "oracle": load_oracle}[of]
    load(folder, SETUP)
    with pytest.raises(UserError, match=re.escape(says)):
        load(folder, dataclasses.replace(SETUP, **changed))


def test_an_earlier_run_without_the_arm_is_refused(tmp_path):
    none = stored(tmp_path / "none", [episode(state=1)])
    mist = stored(tmp_path / "mist", [acted(episode(state=2), "mist", np.ones((12, 7), "f"))])
    with pytest.raises(UserError, match="holds no episode of the arm mist"):
        load_replays(none, SETUP)
    with pytest.raises(UserError, match="holds no unsteered episode"):
        load_oracle(mist, SETUP)
    with pytest.raises(UserError, match=r"^--oracle_from: "):
        load_oracle(tmp_path / "nowhere", SETUP)
