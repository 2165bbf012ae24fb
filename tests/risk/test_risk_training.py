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
from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
from mist_jax.risk.splits import Rows
from mist_jax.risk.study.checkpoint import restore_risk_head, restore_trained, save_risk_head
from mist_jax.risk.study.crossfit import cross_fit
from mist_jax.risk.study.figures import draw_all
from mist_jax.risk.study.judge import judge
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
    assert card["head_minus"]["clock"]["x"]["head_is_better"]
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


def test_new_scenes_are_judged_by_the_head_that_ships(planted):
    _, trained = planted
    new = samples_of(signal, scenes=20, seed=9)
    moved = [
        type(facts)(**{**vars(facts), "key": type(facts.key)("libero_goal", 0, i, 0)})
        for i, facts in enumerate(new.episodes)
    ]
    new = Samples(**{**vars(new), "episodes": tuple(moved)})
    evidence = judge(trained, new)
    at = new.layers.index(trained.metadata.layer)
    expected = risk_probability(trained.head, jnp.asarray(new.activation[:, at]))
    np.testing.assert_allclose(evidence.forecasts["head"].risk, expected, atol=1e-6)
    assert (evidence.forecasts["head"].threshold == trained.metadata.alarm_threshold).all()


def test_pure_clock_is_reported_as_not_beating_the_clock():
    samples = samples_of(clock)
    trained = train_risk(samples, "h", StudyConfig(train=QUICK))
    card = scorecard(judge(trained, samples), replicates=300)
    against = card["head_minus"]["clock"]["x"]
    assert not against["head_is_better"]
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
