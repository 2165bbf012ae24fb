"""A whole study on constructed data whose answer is known: roles, ensembles, cards, checkpoint."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from mist_jax.errors import UserError
from mist_jax.risk.calibration.registry import ALARM_RULES
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.judging.cards.scorecard import GATES, scorecard
from mist_jax.risk.judging.cards.sentences import sentences
from mist_jax.risk.judging.cards.table import markdown
from mist_jax.risk.judging.groups import ON_FAILURES, OTHERS, OURS, OUTSIDE
from mist_jax.risk.judging.verdict import MIN_CLUSTERS
from mist_jax.risk.judging.views import ALL, FIRST, UNPUSHED, WITHIN_FOLD, WITHIN_TASK
from mist_jax.risk.labels import Target
from mist_jax.risk.plan import Plan, StudyConfig, last_layer
from mist_jax.risk.splits import CALIBRATE, THRESHOLD
from mist_jax.risk.study.checkpoint import TrainedRisk, restore_trained, save_risk_head
from mist_jax.risk.study.crossfit import cross_fit
from mist_jax.risk.study.judge import folds_of, judge
from mist_jax.risk.study.read import read
from mist_jax.risk.study.registry import registry_of
from mist_jax.risk.study.report import full_card, title_of, verdict_of_card, write_report
from mist_jax.risk.study.train import train_risk
from mist_jax.risk.subset import of_episodes
from tests.helpers.probe_detector import LinearProbe, ProbeReader, Steps
from tests.helpers.synthetic_episodes import SITE, study_episodes

HORIZON = 8
FEW = registry_of([LinearProbe(), Steps()])  # pyright: ignore[reportArgumentType]
X = 0, 1  # x+ and x-, the motions that the constructed contacts have


def signal(activation, step, rng):
    """The middle stored layer (3) knows."""
    return rng.random(len(step)) < expit(2 * activation[:, 1, 0] - 1.5)


def clock(activation, step, rng):
    return rng.random(len(step)) < np.where(step > 56, 0.6, 0.05)


def samples_of(when, target: Target = "all", **options) -> Samples:
    made = study_episodes(when, **{"scenes": 120, **options})
    return gather_samples(made, SITE, horizon=HORIZON, target=target)


def trained_on(samples: Samples, detectors=FEW, **config) -> TrainedRisk:
    config = StudyConfig(**{"detector": "probe", "target": samples.target, **config})
    return train_risk(samples, "hash", config, detectors=detectors)


def in_new_scenes(samples: Samples) -> Samples:
    """The same, in scenes that no training data had."""
    moved = [
        replace(facts, key=replace(facts.key, initial_state=1000 + i))
        for i, facts in enumerate(samples.episodes)
    ]
    return replace(samples, episodes=tuple(moved))


@pytest.fixture(scope="module")
def planted() -> tuple[Samples, TrainedRisk]:
    samples = samples_of(signal)
    return samples, trained_on(samples)


@pytest.fixture(scope="module")
def card(planted):
    samples, trained = planted
    return scorecard(judge(trained, samples, FEW), replicates=200)


def test_a_planted_signal_is_found_near_the_bayes_value(planted, card):
    samples, _ = planted
    probe = card["detectors"]["probe"]
    bayes = roc_auc_score(samples.risk[:, :2].any(axis=1), samples.activation[:, 1, 0])
    assert bayes - 0.05 < probe[ALL]["any"][WITHIN_TASK]["value"] < bayes + 0.03
    against = card["head_minus"][ALL][WITHIN_TASK]["clock"]
    assert against["any"]["verdict"] == against["mean"]["verdict"] == "better"
    assert probe["calibration"]["any"]["ece"]["value"] < 0.08
    json.dumps(card, allow_nan=False)


def test_motions_without_events_say_their_base_rate_and_never_alarm(planted, card):
    samples, trained = planted
    yaw = card["detectors"]["probe"][FIRST]["motions"]["yaw+"]
    assert yaw[WITHIN_TASK]["value"] is None
    assert "too few positives" in yaw[WITHIN_TASK]["reason"]
    assert card["n_positive"]["yaw+"] == 0
    assert "yaw+" in card["fallback_to_base_rate"]
    assert trained.metadata.threshold[10] is None
    assert np.isfinite(trained.metadata.alarm_threshold[list(X)]).all()
    risk = judge(trained, samples, FEW).forecasts["probe"].risk
    assert np.ptp(risk[:, 10]) < 1e-3
    assert risk[:, 10].max() < 2e-3


def altered(samples: Samples, rows: np.ndarray) -> Samples:
    """Other activations, labels and steps in these rows (bool [Q])."""
    site = samples.sites[SITE]
    values = np.where(rows[:, None, None], -7 * site.values - 1, site.values)
    labels = {
        target: replace(
            one,
            steps_to_event=np.where(rows[:, None], np.inf, one.steps_to_event),
            ahead=np.where(rows, np.inf, one.ahead),
        )
        for target, one in samples.labels.items()
    }
    return replace(samples, sites={SITE: replace(site, values=values)}, labels=labels)


def test_no_role_leaks_into_another_bit_for_bit(planted):
    """What a member, its calibration and its threshold are made of, and nothing else, moves it."""
    samples, _ = planted
    plan = Plan.of(samples, StudyConfig(detector="probe", target="all"))
    probe = LinearProbe()

    def crossed(data: Samples):
        return cross_fit(probe, probe.fit(data, plan, print), data, plan)  # pyright: ignore

    before, folds = crossed(samples), plan.folds
    # The test fold: neither the member, nor its calibration, nor its threshold.
    after = crossed(altered(samples, folds.test(2, samples)))
    for name, leaf in before.members[2].items():
        np.testing.assert_array_equal(leaf, after.members[2][name])
    for part in ("platt_scale", "platt_shift", "quiet_score", "quiet_risk"):
        np.testing.assert_array_equal(getattr(before, part)[2], getattr(after, part)[2])
    assert not np.array_equal(before.members[0]["weight"], after.members[0]["weight"])
    # Scenes that set thresholds: no member and no calibration.
    after = crossed(altered(samples, folds.threshold(samples)))
    for k, member in enumerate(before.members):
        np.testing.assert_array_equal(member["weight"], after.members[k]["weight"])
    np.testing.assert_array_equal(before.platt_scale, after.platt_scale)
    for part in ("quiet_score", "quiet_risk"):
        assert not np.array_equal(getattr(before, part), getattr(after, part))
    # Scenes that calibrate: no member.
    after = crossed(altered(samples, folds.calibrate(samples)))
    for k, member in enumerate(before.members):
        np.testing.assert_array_equal(member["weight"], after.members[k]["weight"])
    assert not np.array_equal(before.platt_scale, after.platt_scale)


def test_each_scene_is_judged_by_the_member_that_never_saw_it_and_others_are_left_out(planted):
    samples, trained = planted
    evidence, ensemble = judge(trained, samples, FEW), trained.ensembles["probe"]
    role = folds_of(trained.metadata, samples).fold
    assert {CALIBRATE, THRESHOLD, 0, 1, 2, 3, 4} == set(role.tolist())
    assert len(evidence.samples) == (role >= 0)[samples.episode].sum()
    tested = of_episodes(samples, role >= 0)
    for k in range(5):
        own = (role[role >= 0] == k)[tested.episode]
        assert (evidence.stratum[own] == k).all()
        part = of_episodes(samples, role == k)
        learnt = (role >= 0) & (role != k) & (role != (k + 1) % 5)
        rows = learnt[samples.episode] & samples.valid
        np.testing.assert_allclose(
            ensemble.members[k]["seen"], samples.activation[rows, 1].mean(axis=0), atol=1e-6
        )
        line = part.activation[:, 1] @ ensemble.members[k]["weight"] + ensemble.members[k]["bias"]
        said = expit(ensemble.platt_scale[k] * line + ensemble.platt_shift[k])
        np.testing.assert_allclose(evidence.forecasts["probe"].risk[own], said, atol=1e-6)


def test_new_scenes_are_judged_by_the_ensemble_which_is_the_reader_that_ships(planted):
    _, trained = planted
    new = in_new_scenes(samples_of(signal, scenes=20, seed=9))
    evidence, ensemble = judge(trained, new, FEW), trained.ensembles["probe"]
    assert (evidence.stratum == 5).all()
    lines = [new.activation[:, 1] @ m["weight"] + m["bias"] for m in ensemble.members]
    each = [
        expit(a * line + b)
        for a, b, line in zip(ensemble.platt_scale, ensemble.platt_shift, lines, strict=False)
    ]
    mean = logit(np.clip(np.mean(each, axis=0), 1e-6, 1 - 1e-6))
    said = expit(ensemble.platt_scale[5] * mean + ensemble.platt_shift[5])
    forecast = evidence.forecasts["probe"]
    np.testing.assert_allclose(forecast.risk, said, atol=1e-6)
    shipped = read(trained.head, new, np.zeros((len(new), 0)))
    np.testing.assert_allclose(shipped, said, atol=1e-5)
    threshold = trained.metadata.alarm_threshold
    np.testing.assert_allclose(forecast.threshold, np.tile(threshold, (len(new), 1)), rtol=1e-6)
    assert title_of(full_card(evidence, trained.metadata)) == "new scenes"
    alone = scorecard(evidence, replicates=50)
    assert alone["head_minus"][ALL][WITHIN_TASK]["clock"]["any"]["value"] > 0.1


def test_alarm_rules_see_the_risk_of_any_event_and_gates_one_level_for_all_motions(planted):
    samples, trained = planted
    evidence = judge(trained, samples, FEW)
    forecast = evidence.forecasts["probe"]
    none = np.prod(1 - forecast.risk[:, list(X)].astype(np.float64), axis=1)
    assert forecast.alarm_score is not None
    np.testing.assert_allclose(forecast.alarm_score, logit(1 - none), atol=1e-4)
    assert np.isinf(forecast.threshold[:, 2:]).all()
    np.testing.assert_array_equal(forecast.threshold[:, 0], forecast.threshold[:, 1])
    raised = forecast.at_rates[0.5]["split conformal"]  # few episodes are clean
    for k in range(5):  # one level each
        own = (evidence.stratum == k) & evidence.samples.label.open
        score = forecast.alarm_score[own]
        assert score[raised[own]].min() > score[~raised[own]].max()


def test_the_mean_is_over_motions_with_enough_scenes_and_over_the_same_for_all(planted):
    """x- keeps its events in all but a few scenes: it has a figure, and no part in the mean."""
    samples, trained = planted
    evidence = judge(trained, samples, FEW)
    labels = dict(evidence.samples.labels)
    first = labels["first"]
    minus = (first.steps_to_event[:, 1] <= HORIZON) & first.valid
    scenes = np.unique(evidence.samples.scene[minus])[: MIN_CLUSTERS - 1]
    steps = first.steps_to_event.copy()
    steps[~np.isin(evidence.samples.scene, scenes), 1] = np.inf
    labels["first"] = replace(first, steps_to_event=steps)
    few = scorecard(
        replace(evidence, samples=replace(evidence.samples, labels=labels)), replicates=50
    )
    told = few["motions"][FIRST]
    assert told["x+"]["in_mean"]
    assert not told["x-"]["in_mean"]
    assert 0 < told["x-"]["scenes"] < MIN_CLUSTERS <= told["x+"]["scenes"]
    assert few["motions"][ALL]["x-"]["in_mean"]
    for detector in few["detectors"].values():
        view = detector[FIRST]
        assert view["motions"]["x-"][WITHIN_TASK]["value"] is not None
        for how in (WITHIN_TASK, WITHIN_FOLD):
            assert view["mean"][how] == view["motions"]["x+"][how]
    against = few["head_minus"][FIRST][WITHIN_TASK]["clock"]
    assert against["mean"]["verdict"] == against["x+"]["verdict"] != "cannot be judged"
    assert against["x-"]["verdict"] == "cannot be judged"
    assert few["verdict"][0].startswith("First events, within tasks, mean over x+: the probe")
    by_motion = few["verdict"][-1]
    assert by_motion.endswith("cannot be judged in x-.")


def test_the_verdict_is_a_few_lines_and_names_what_is_not_beaten():
    def gap(verdict):
        return {
            "mean": {"verdict": verdict},
            "any": {"verdict": verdict},
            "x+": {"verdict": verdict},
        }

    group = {"us": OURS, "task": OUTSIDE, "clock": OUTSIDE} | dict.fromkeys("abc", ON_FAILURES)
    first = {"task": gap("not better"), "a": gap("better"), "b": gap("better"), "c": gap("better"),
             "clock": gap("not better")}  # fmt: skip
    other = {**first, "c": gap("cannot be judged")}
    card = {
        "subject": "us",
        "alarm_rate": 0.15,
        "announced_by": "gates",
        "fallback_to_base_rate": [],
        "motions": {view: {"x+": {"in_mean": True}} for view in (FIRST, ALL, UNPUSHED)},
        "detectors": {name: {"group": of} for name, of in group.items()},
        "head_minus": {
            FIRST: {WITHIN_TASK: first}, ALL: {WITHIN_TASK: other}, UNPUSHED: {WITHIN_TASK: first},
        },
        "head_minus_announced": {name: one["any"] for name, one in first.items()},
    }  # fmt: skip
    said = sentences(card, np.ones(14, bool))
    whole = f"the us beats all 3 {ON_FAILURES}; does NOT beat clock, task."
    assert said[0] == f"First events, within tasks, mean over x+: {whole}"
    assert "beats a, b; does NOT beat clock, task; cannot be judged against c." in said[1]
    assert [line.endswith(whole) for line in said[2:4]] == [True, True]
    assert said[4] == "Motion by motion against the clock: the us does NOT beat it in x+."
    assert len(said) == 5  # nothing was pushed: the view of unpushed events is not told again


def test_a_threshold_that_is_never_crossed_is_never_and_not_nothing(planted):
    samples, trained = planted
    evidence = judge(trained, samples, FEW)
    forecasts = dict(evidence.forecasts)
    for name, threshold in (("probe", 0.0), ("clock", np.inf)):
        bounds = np.full(forecasts[name].risk.shape, threshold)
        forecasts[name] = replace(forecasts[name], threshold=bounds, alarms={})
    card = full_card(replace(evidence, forecasts=forecasts), trained.metadata)
    lines = markdown({title_of(card): card}).splitlines()
    probe, steps = (next(s for s in lines if s.startswith(f"| {n} ")) for n in ("probe", "clock"))
    assert "never" not in probe
    assert steps.count("never") == 2
    assert lines[0] == "## Seen tasks, unseen scenes"
    assert card["detectors"]["probe"]["group"] == OTHERS


def test_the_checkpoint_judges_again_alike(planted, tmp_path):
    samples, trained = planted
    save_risk_head(tmp_path, trained)
    save_risk_head(tmp_path, trained)  # again, over the first
    restored = restore_trained(tmp_path, detectors=FEW)
    assert type(restored.head) is ProbeReader
    assert restored.metadata == trained.metadata
    jax.tree.map(np.testing.assert_array_equal, restored.head, trained.head)
    before, after = judge(trained, samples, FEW), judge(restored, samples, FEW)
    for name, one in before.forecasts.items():
        other = after.forecasts[name]
        np.testing.assert_array_equal(one.risk, other.risk)
        np.testing.assert_array_equal(one.threshold, other.threshold)
        for rate, rules in one.at_rates.items():
            for rule, raised in rules.items():
                np.testing.assert_array_equal(raised, other.at_rates[rate][rule])
    full = full_card(after, restored.metadata)
    drawn = write_report(tmp_path / "out", after, full, restored.metadata, {"other": full})
    assert all(path.stat().st_size > 5000 for path in drawn)
    assert {"detectors.png", "alarms.png", "reliability.png", "approach.png", "coverage.png"} <= {
        path.name for path in drawn
    }
    table = (tmp_path / "out" / "table.md").read_text()
    assert all(f"| {name} |" in table for name in ("probe", "clock", *ALARM_RULES))
    assert "## Other" in table
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["split"] == "episode"


def test_restored_on_other_devices_than_saved_on(planted, tmp_path):
    save_risk_head(tmp_path, planted[1])
    mesh = jax.make_mesh((jax.device_count(),), ("all",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    restored = restore_trained(tmp_path, place, FEW)
    assert restored.head.weight.sharding == place  # pyright: ignore[reportAttributeAccessIssue]


def test_a_pure_clock_is_reported_as_not_beating_the_clock():
    samples = samples_of(clock)
    card = scorecard(judge(trained_on(samples), samples, FEW), replicates=200)
    against = card["head_minus"][ALL][WITHIN_TASK]["clock"]
    assert against["any"]["verdict"] == against["mean"]["verdict"] == "not better"
    assert any(
        "First events, within tasks, mean over x+, x-: the probe does NOT beat clock" in line
        for line in card["verdict"]
    )
    found = card["detectors"]["clock"][ALL]["any"][WITHIN_FOLD]["value"]
    label = samples.labels["all"].any_risk
    assert found == pytest.approx(roc_auc_score(label, samples.step > 56), abs=0.04)


def test_without_signal_nothing_leans_and_nothing_is_claimed():
    values, covered = [], 0
    for seed in range(4):
        samples = samples_of(lambda a, step, rng: rng.random(len(step)) < 0.25, seed=seed)
        told = scorecard(judge(trained_on(samples), samples, FEW), replicates=200)
        figure = told["detectors"]["probe"][ALL]["any"][WITHIN_TASK]
        values.append(figure["value"])
        covered += figure["interval"][0] < 0.5 < figure["interval"][1]
    assert covered >= 3
    assert abs(np.mean(values) - 0.5) < 0.035


def test_split_by_task_judges_each_instruction_by_a_stranger():
    samples = samples_of(signal)
    episodes = tuple(
        replace(facts, key=replace(facts.key, task_id=task), instruction=f"task {task}")
        for facts in samples.episodes
        for task in [facts.key.initial_state % 8]
    )
    samples = replace(samples, episodes=episodes)
    roles = trained_on(samples, split="task").metadata.role_of
    assert set(roles) == {f"task {task}" for task in range(8)}
    assert {CALIBRATE, THRESHOLD} < set(roles.values())


def test_with_no_event_at_all_nothing_is_claimed(tmp_path):
    samples = samples_of(lambda activation, step, rng: np.zeros(len(step), bool), scenes=20)
    trained = trained_on(samples)
    evidence = judge(trained, samples, FEW)
    card = full_card(evidence, trained.metadata)
    assert card["verdict"][0].startswith("No motion has enough harmful events")
    assert trained.metadata.threshold == (None,) * 14
    assert (
        card["detectors"]["probe"]["alarms"]["sequential"]["clean_episodes_alarmed"]["value"] == 0
    )
    write_report(tmp_path, evidence, card, trained.metadata, {})


def test_two_scenes_cannot_judge_whom_the_head_beats(planted):
    samples, trained = planted
    role = folds_of(trained.metadata, samples).fold
    keep = np.zeros(len(samples.episodes), bool)
    keep[np.flatnonzero(role == 0)[:2]] = True
    card = scorecard(judge(trained, of_episodes(samples, keep), FEW), replicates=100)
    against = card["head_minus"][ALL][WITHIN_FOLD]["clock"]["any"]
    assert against["verdict"] == "cannot be judged"
    assert not any("NOT" in line or "beats" in line for line in card["verdict"])


def test_clean_episodes_are_alarmed_at_the_stated_rate():
    """Over studies: rare events, many clean episodes; new scenes and those that were tested."""
    shares = {rule: [] for rule in (*ALARM_RULES, GATES)}
    for seed in range(3):
        rare = samples_of(
            lambda a, step, rng: rng.random(len(step)) < expit(3 * a[:, 1, 0] - 6),
            seed=seed, scenes=300, target="first",
        )  # fmt: skip
        told = scorecard(judge(trained_on(rare), rare, FEW), replicates=10)
        for rule, figures in told["detectors"]["probe"]["alarms"].items():
            shares[rule].append(figures["clean_episodes_alarmed"]["value"])
        assert told["detectors"]["probe"]["alarms"]["split conformal"]["announced_ahead"]
    for rule, each in shares.items():
        # Half of the clean episodes give the band its shape: its level rests on some fifteen.
        within = 0.14 if rule == "functional band" else 0.09
        assert np.mean(each) == pytest.approx(0.15, abs=within), rule


def test_another_models_data_missing_sites_and_missing_layers_are_refused(planted):
    samples, trained = planted
    with pytest.raises(UserError, match="was trained on 'toy@1'"):
        judge(trained, replace(samples, model="other@2"), FEW)
    with pytest.raises(UserError, match=r"these samples lack llm\.resid"):
        judge(trained, replace(samples, sites={"llm.attn": samples.sites[SITE]}), FEW)
    other = {SITE: replace(samples.sites[SITE], layers=(0, 2, 4))}
    with pytest.raises(UserError, match=r"reads layer 3 of llm\.resid"):
        judge(trained, replace(samples, sites=other), FEW)
    role = folds_of(trained.metadata, samples).fold
    with pytest.raises(UserError, match="calibrated the risk head or set its thresholds"):
        judge(trained, of_episodes(samples, role < 0), FEW)


def test_a_damaged_or_absent_checkpoint_is_one_line(planted, tmp_path):
    with pytest.raises(UserError, match=r"not a risk head: it has no metadata\.json"):
        restore_trained(tmp_path)
    save_risk_head(tmp_path, planted[1])
    for file in (tmp_path / "risk_head" / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        restore_trained(tmp_path, detectors=FEW)


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
    stored = replace(planted[0].sites[SITE], layers=layers)
    assert last_layer(replace(planted[0], sites={site: stored}, site=site)) == last


class Fails:
    """A detector of failures that finds nothing to learn from."""

    name = learner = "fails"
    claims = "failure"

    def epochs(self, plan):
        return 0

    def fit(self, samples, plan, progress):
        return type("Nothing", (), {"members": [None] * plan.folds.count})()

    def score(self, member, samples):
        raise AssertionError


def test_a_detector_of_failures_without_failures_is_left_out_and_said_to_be(planted):
    samples, _ = planted
    some = registry_of([LinearProbe(), Fails()])  # pyright: ignore[reportArgumentType]
    trained = trained_on(samples, some)
    assert list(trained.ensembles) == ["probe"]
    said = verdict_of_card(full_card(judge(trained, samples, some), trained.metadata))
    assert any("fails found nothing to learn from" in line for line in said)
