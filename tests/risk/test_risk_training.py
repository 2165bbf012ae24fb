"""Risk learning on constructed data whose answer is known."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mist_jax.errors import UserError
from mist_jax.intervention.risk_head import RiskHead, risk_probability
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.judging.metrics import auroc, cluster_weights, interval
from mist_jax.risk.judging.scorecard import scorecard
from mist_jax.risk.perceptron.head import RISK_HEAD
from mist_jax.risk.perceptron.training import fit_heads, head_logits
from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig, last_layer
from mist_jax.risk.splits import Rows
from mist_jax.risk.study.checkpoint import (
    from_optional,
    restore_risk_head,
    restore_trained,
    save_risk_head,
)
from mist_jax.risk.study.crossfit import cross_fit
from mist_jax.risk.study.figures import draw_all
from mist_jax.risk.study.judge import judge
from mist_jax.risk.study.registry import DETECTORS, registry_of
from mist_jax.risk.study.train import train_risk
from tests.helpers.synthetic_episodes import SITE, contact, episode, study_episodes

QUICK = TrainConfig(hidden=16)
HORIZON = 8


def signal(activation, step, rng):
    """The middle stored layer (3) knows: logit 2 h_0 - 1.5."""
    return rng.random(len(step)) < 1 / (1 + np.exp(-(2 * activation[:, 1, 0] - 1.5)))


def clock(activation, step, rng):
    return rng.random(len(step)) < np.where(step > 56, 0.6, 0.05)


def chance(activation, step, rng):
    return rng.random(len(step)) < 0.25


def samples_of(when, **options) -> Samples:
    return gather_samples(study_episodes(when, **options), SITE, horizon=HORIZON)


@pytest.fixture(scope="module")
def planted():
    samples = samples_of(signal)
    trained = train_risk(samples, "hash", StudyConfig(train=QUICK))
    return samples, trained


def test_a_planted_signal_is_found_at_its_layer_near_the_bayes_value(planted):
    samples, trained = planted
    assert trained.metadata.layer == 3
    card = scorecard(judge(trained, samples), replicates=200)
    found = card["detectors"]["head"]["dimensions"]["x"]["auroc"]
    bayes = roc_auc_score(samples.risk[:, 0], samples.activation[:, 1, 0])
    assert bayes - 0.05 < found["value"] < bayes + 0.02
    assert card["head_minus"]["clock"]["x"]["verdict"] == "better"
    assert card["detectors"]["head"]["dimensions"]["x"]["ece"]["value"] < 0.08


def test_dimensions_without_contacts_report_base_rate_null_and_never_alarm(planted):
    samples, trained = planted
    card = scorecard(judge(trained, samples), replicates=50)
    yaw = card["detectors"]["head"]["dimensions"]["yaw"]
    assert yaw["auroc"]["value"] is None
    assert "too few positives" in yaw["auroc"]["reason"]
    assert card["n_positive"]["yaw"] == 0
    assert "yaw" in card["fallback_to_base_rate"]
    assert trained.metadata.threshold[5] is None
    assert np.isinf(trained.metadata.alarm_threshold[5])
    risk = np.asarray(risk_probability(trained.head, jnp.asarray(samples.activation[:, 1])))
    np.testing.assert_allclose(risk[:, 5], 0.5 / samples.valid.sum(), rtol=1e-4)
    json.dumps(card, allow_nan=False)


def test_checkpoint_judges_again_alike_and_restores_the_head(planted, tmp_path):
    samples, trained = planted
    save_risk_head(tmp_path, trained)
    save_risk_head(tmp_path, trained)  # again, over the first
    restored = restore_trained(tmp_path)
    before, after = judge(trained, samples), judge(restored, samples)
    for name, forecast in before.forecasts.items():
        np.testing.assert_array_equal(forecast.risk, after.forecasts[name].risk)
        np.testing.assert_array_equal(forecast.threshold, after.forecasts[name].threshold)
    head, metadata = restore_risk_head(tmp_path / "risk_head")
    jax.tree.map(np.testing.assert_array_equal, head, trained.head)
    assert metadata == trained.metadata
    card = scorecard(after, replicates=20)
    drawn = draw_all(tmp_path / "plots", after, card, metadata)
    assert all(path.stat().st_size > 5000 for path in drawn)


def test_members_never_saw_the_scenes_they_judge(planted):
    """Normalisers tell who was trained on: each member's mean is that of its training queries."""
    samples, trained = planted
    meta, members = trained.metadata, trained.members["head"]
    fold = np.array([meta.fold_of[f"libero_spatial/{f.key.task_id}/{f.key.initial_state}"]
                     for f in samples.episodes])[samples.episode]  # fmt: skip
    for k in range(5):
        train = (fold != k) & (fold != (k + 1) % 5) & samples.valid
        at = samples.layers.index(int(members["layer"][k]))
        expected = samples.activation[train, at].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(members["mean"][k], expected, atol=1e-6)


def moved_to_new_scenes(samples: Samples) -> Samples:
    moved = [
        type(facts)(**{**vars(facts), "key": type(facts.key)("libero_goal", 0, i, 0)})
        for i, facts in enumerate(samples.episodes)
    ]
    return Samples(**{**vars(samples), "episodes": tuple(moved)})


def test_new_scenes_are_judged_by_the_head_that_ships(planted):
    _, trained = planted
    new = moved_to_new_scenes(samples_of(signal, scenes=20, seed=9))
    evidence = judge(trained, new)
    at = new.layers.index(trained.metadata.layer)
    expected = risk_probability(trained.head, jnp.asarray(new.activation[:, at]))
    np.testing.assert_allclose(evidence.forecasts["head"].risk, expected, atol=1e-6)
    assert (evidence.forecasts["head"].threshold == trained.metadata.alarm_threshold).all()


def test_on_new_scenes_the_baselines_too_are_fitted_to_all_training_scenes(planted):
    """Normalisers tell who was trained on; no baseline is that of one fold."""
    samples, trained = planted
    new = moved_to_new_scenes(samples_of(signal, scenes=20, seed=9))
    evidence = judge(trained, new)
    inputs = {"clock": "step", "state": "state", "action": "action"}
    for name, column in inputs.items():
        members = trained.members[name]
        everyone = np.asarray(getattr(samples, column), np.float64)[samples.valid]
        mean = everyone.reshape(len(everyone), -1).mean(axis=0)
        np.testing.assert_allclose(members["mean"][-1], mean, rtol=1e-5, atol=1e-6)
        detector = DETECTORS[name]
        whole = {key: np.asarray(leaf)[-1] for key, leaf in members.items()}
        scale, shift = whole.pop("platt_scale"), whole.pop("platt_shift")
        expected = 1 / (1 + np.exp(-(scale * detector.score(whole, new) + shift)))
        np.testing.assert_allclose(evidence.forecasts[name].risk, expected, atol=1e-5)
        above = from_optional(trained.metadata.member_threshold[name][-1])
        assert (evidence.forecasts[name].threshold == above).all()


def test_a_head_reads_a_layer_that_leaves_later_ones_to_steer():
    """The last stored layer (5) knows best; a head there could open no push."""
    samples = samples_of(
        lambda activation, step, rng: (
            rng.random(len(step))
            < 1 / (1 + np.exp(-(3 * activation[:, 2, 0] + activation[:, 0, 0] - 1.5)))
        )
    )
    few = registry_of([RISK_HEAD])
    quick = TrainConfig(hidden=8, epochs=20)
    meta = train_risk(samples, "h", StudyConfig(train=quick), detectors=few).metadata
    assert (meta.layer, meta.last_layer) == (1, 3)
    known = [value for value in meta.validation_auroc if value is not None]
    assert np.argmax(known) == 2, "layers that may not be read are reported all the same"
    asked = StudyConfig(train=quick, max_layer=5)
    assert train_risk(samples, "h", asked, detectors=few).metadata.layer == 5
    with pytest.raises(UserError, match=r"--max_layer=0: the first stored layer .* is 1"):
        train_risk(samples, "h", StudyConfig(max_layer=0), detectors=few)


@pytest.mark.parametrize(
    ("layers", "site", "last"),
    [
        (tuple(range(32)), "llm.resid", 21),
        (tuple(range(6)), "llm.attn", 3),
        ((0, 1), "llm.resid", 0),
        ((5,), "llm.resid", 5),
        (tuple(range(6)), "vision.dino", None),
    ],
)
def test_two_thirds_of_the_depth_may_be_read_and_of_other_sites_every_layer(
    planted, layers, site, last
):
    samples = Samples(**{**vars(planted[0]), "layers": layers, "site": site})
    assert last_layer(samples) == last


def few_scenes(samples: Samples, count: int) -> Samples:
    """The queries of the first scenes, under the same names."""
    first = np.unique(samples.scene)[:count]
    keep = np.isin(samples.scene, first)
    episodes, number = np.unique(samples.episode[keep], return_inverse=True)
    columns = {
        name: value[keep] for name, value in vars(samples).items() if isinstance(value, np.ndarray)
    }
    columns["episode"] = number.astype(np.int32)
    chosen = tuple(samples.episodes[e] for e in episodes)
    return Samples(**{**vars(samples), **columns, "episodes": chosen})


def test_two_scenes_cannot_judge_whom_the_head_beats(planted):
    samples, trained = planted
    two = few_scenes(samples, 2)
    card = scorecard(judge(trained, two), replicates=100)
    against = card["head_minus"]["clock"]["x"]
    assert against["verdict"] == "cannot be judged"
    assert "are needed" in against["reason"] or against["interval"] is None
    assert not any("beats the clock" in line for line in card["verdict"] if "Whether" not in line)
    assert not any("NOT" in line for line in card["verdict"])


def test_an_undefined_difference_is_not_a_defeat(planted):
    samples, trained = planted
    without = Samples(**{**vars(samples), "risk": np.zeros_like(samples.risk)})
    card = scorecard(judge(trained, without), replicates=20)
    against = card["head_minus"]["clock"]["x"]
    assert (against["value"], against["verdict"]) == (None, "cannot be judged")
    said = [line for line in card["verdict"] if " x" in line]
    assert said
    assert all("cannot be judged in x" in line for line in said)


def test_pure_clock_is_reported_as_not_beating_the_clock():
    samples = samples_of(clock)
    trained = train_risk(samples, "h", StudyConfig(train=QUICK))
    card = scorecard(judge(trained, samples), replicates=300)
    against = card["head_minus"]["clock"]["x"]
    assert against["verdict"] == "not better"
    assert any("NOT beat the clock baseline in x" in line for line in card["verdict"])
    clock_auroc = card["detectors"]["clock"]["dimensions"]["x"]["auroc"]["value"]
    bayes = roc_auc_score(samples.risk[:, 0], samples.step > 56)
    assert clock_auroc == pytest.approx(bayes, abs=0.03)


def test_without_signal_intervals_cover_a_half_and_nothing_leans():
    values, covered = [], 0
    for seed in range(4):
        samples = samples_of(chance, seed=seed)
        plan = Plan.of(samples, StudyConfig(train=QUICK))
        fit = RISK_HEAD.fit(samples, plan, lambda epochs: None)
        crossed = cross_fit(RISK_HEAD, fit, samples, plan)
        scored = (crossed.risk[:, 0], samples.risk[:, 0])
        fold = plan.folds.fold[samples.episode]
        values.append(auroc(*scored, stratum=fold)[0])
        bounds = interval(auroc(*scored, cluster_weights(samples.scene, 200, 0), fold))
        assert bounds is not None
        covered += bounds[0] < 0.5 < bounds[1]
    assert covered >= 3
    assert abs(np.mean(values) - 0.5) < 0.035


def test_split_by_task_judges_each_task_by_a_stranger():
    samples = samples_of(signal)
    config = StudyConfig(split="task", train=TrainConfig(epochs=2, hidden=4))
    trained = train_risk(samples, "h", config)
    assert set(trained.metadata.fold_of) == {f"libero_spatial/{task}" for task in range(5)}
    assert sorted(trained.metadata.fold_of.values()) == list(range(5))


def test_with_no_contact_at_all_nothing_is_claimed(tmp_path):
    samples = samples_of(lambda activation, step, rng: np.zeros(len(step), bool), scenes=12)
    quick = TrainConfig(epochs=2, hidden=4)
    trained = train_risk(samples, "h", StudyConfig(train=quick))
    card = scorecard(judge(trained, samples), replicates=20)
    assert card["verdict"][0].startswith("No dimension has enough harmful contacts")
    assert trained.metadata.threshold == (None,) * 7
    evidence = judge(trained, samples)
    draw_all(tmp_path, evidence, card, trained.metadata)


def test_layers_fitted_together_are_those_fitted_alone():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 2, 8)).astype(np.float32)
    labels = np.zeros((300, 7), bool)
    labels[:, 0] = features[:, 1, 0] > 0.5
    half = np.arange(300) < 150
    both = [Rows(half, ~half), Rows(~half, half)]
    config = TrainConfig(epochs=5, hidden=8)

    def logits(columns: list[int], layers: tuple[int, ...]) -> np.ndarray:
        fitted = fit_heads(features[:, columns], labels, both, layers, config)
        heads = jax.tree.map(lambda leaf: leaf[:, :, 0], fitted.heads)
        return head_logits(heads, features[:, columns])

    together, alone = logits([0, 1], (4, 7)), logits([1], (7,))
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)


def test_another_models_data_and_missing_layers_are_refused(planted):
    samples, trained = planted
    with pytest.raises(UserError, match="was trained on 'toy@1'"):
        judge(trained, Samples(**{**vars(samples), "model": "other@2"}))
    with pytest.raises(UserError, match=r"reads layer 3 of llm\.resid"):
        judge(trained, Samples(**{**vars(samples), "layers": (0, 2, 4)}))


def test_a_damaged_or_absent_checkpoint_is_one_line(planted, tmp_path):
    with pytest.raises(UserError, match=r"not a risk head: it has no metadata\.json"):
        restore_risk_head(tmp_path)
    save_risk_head(tmp_path, planted[1])
    for file in (tmp_path / "risk_head" / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        restore_risk_head(tmp_path)


def test_restore_on_other_devices_than_saved_on(planted, tmp_path):
    """Saved here on one device, restored replicated over a mesh of all there are."""
    save_risk_head(tmp_path, planted[1])
    mesh = jax.make_mesh((jax.device_count(),), ("all",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    head, _ = restore_risk_head(tmp_path, place)
    assert isinstance(head, RiskHead)
    assert head.mean.sharding == place


def test_a_masked_query_enters_neither_training_nor_scores():
    running = [contact(8, {0: 1.0})] + [contact(s, onset=False) for s in range(9, 60)]
    samples = gather_samples([episode(running, state=s) for s in range(3)], SITE)
    assert (~samples.valid).sum() == 3 * 6
    assert not samples.risk[~samples.valid].any()
