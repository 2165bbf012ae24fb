"""The table of queries: what each row knows of its past, and how much memory it takes."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.record.episode import Episode
from mist_jax.risk.detector import activation_at
from mist_jax.risk.features import gather_samples
from tests.helpers.synthetic_episodes import CHUNK, SITE, contact, episode

OTHER = "llm.resid:image"


def with_sites(made: Episode, **sites: np.ndarray) -> Episode:
    layers = {name: tuple(range(values.shape[1])) for name, values in sites.items()}
    return replace(made, queries=replace(made.queries, activations=sites, layers=layers))


def test_each_row_knows_its_episodes_past_and_nothing_of_another():
    contacts = [contact(10), contact(11, onset=False), contact(50)]
    samples = gather_samples([episode(), episode(contacts, state=1), episode(state=2)], SITE)
    of_second = samples.episode == 1
    assert np.isinf(samples.since_contact[~of_second]).all()
    expected = [np.inf, np.inf, 5, 13, 21, 29, 37, 6, 14, 22, 30, 38]
    assert samples.since_contact[of_second].tolist() == expected
    rows = np.arange(len(samples))
    first = samples.step == 0
    assert first.sum() == 3
    assert (samples.previous == np.where(first, rows, rows - 1)).all()
    assert (samples.episode[samples.previous] == samples.episode).all()


def test_a_contact_in_the_step_of_a_query_is_not_its_past():
    samples = gather_samples([episode([contact(16)])], SITE)
    assert samples.since_contact.tolist()[:4] == [np.inf, np.inf, np.inf, 8]


def test_motion_is_the_mean_action_between_two_queries():
    made = episode()
    action = np.random.default_rng(0).normal(size=(96, 7)).astype(np.float32)
    samples = gather_samples([replace(made, steps=replace(made.steps, action=action))], SITE)
    assert not samples.motion[0].any()
    expected = action[: 11 * CHUNK].reshape(11, CHUNK, 7).mean(axis=1)
    np.testing.assert_allclose(samples.motion[1:], expected, atol=1e-6)


def test_both_targets_are_there_and_one_is_asked_about():
    samples = gather_samples([episode([contact(20, {0: 1.0}), contact(60, {0: 1.0})])], SITE)
    assert samples.target == "first"
    assert samples.step[samples.risk[:, 0]].tolist() == [8, 16]
    every = samples.about("all")
    assert every.step[every.risk[:, 0]].tolist() == [8, 16, 48, 56]
    assert every.about("first").risk.tolist() == samples.risk.tolist()
    assert every.activation is samples.activation


def test_tasks_and_scenes_of_two_suites_are_told_apart():
    made = [episode(suite=suite, task=t) for suite in ("a", "b") for t in (0, 1)]
    samples = gather_samples(made, SITE)
    assert len(set(samples.task.tolist())) == len(set(samples.scene.tolist())) == 4


def test_several_sites_keep_their_layers_and_the_stored_precision():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 12, 3, 4)).astype(np.float16)
    image = rng.normal(size=(2, 12, 1, 6)).astype(np.float32)
    made = [with_sites(episode(state=i), **{SITE: values[i], OTHER: image[i]}) for i in range(2)]
    samples = gather_samples(made, (SITE, OTHER))
    assert samples.site == SITE
    assert samples.layers == (0, 1, 2)
    np.testing.assert_array_equal(samples.activation, values.reshape(24, 3, 4))
    assert samples.activation.dtype == np.float16
    np.testing.assert_array_equal(samples.sites[OTHER].values, image.reshape(24, 1, 6))


def test_detectors_compute_in_float32_whatever_is_stored():
    """The sum of a column of float16 would overflow, and its mean have three digits."""
    values = np.full((12, 1, 4), 60_000, np.float16)
    samples = gather_samples([with_sites(episode(), **{SITE: values})], SITE)
    activation = activation_at(samples, 0, "a test")
    assert activation.dtype == np.float32
    np.testing.assert_array_equal(activation.mean(axis=0), values[0, 0].astype(np.float32))


def test_gathering_takes_little_more_than_the_table_itself():
    """Of episodes that come one at a time; a copy of everything would be twice the table."""
    sites, shape = [f"site {i}" for i in range(4)], (12, 4, 512)

    def stream():
        for state in range(150):
            values = {name: np.full(shape, state, np.float16) for name in sites}
            yield with_sites(episode(state=state), **values)

    stored = 150 * len(sites) * int(np.prod(shape)) * 2
    tracemalloc.start()
    samples = gather_samples(stream(), sites)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(site.values.nbytes for site in samples.sites.values()) == stored
    assert peak < 1.5 * stored


def test_episodes_that_do_not_fit_together_are_refused():
    with pytest.raises(UserError, match="one model per dataset"):
        gather_samples([episode(), episode(model="other@2")], SITE)
    with pytest.raises(UserError, match=r"no activations of 'llm\.mlp'"):
        gather_samples([episode()], "llm.mlp")
    with pytest.raises(UserError, match="no policy queries"):
        gather_samples([], SITE)
    with pytest.raises(UserError, match=r"layers \(1,\) of llm\.resid stored, other .* \(0,\)"):
        gather_samples([episode(), episode(layers=(1,))], SITE)
    wide = np.zeros((12, 1, 5), np.float32)
    with pytest.raises(UserError, match="different widths"):
        gather_samples([episode(), episode(activation=wide)], SITE)
    with pytest.raises(UserError, match="not finite"):
        gather_samples([episode(activation=np.full((12, 1, 4), np.nan, np.float32))], SITE)
