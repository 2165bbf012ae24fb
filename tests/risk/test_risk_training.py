"""Hazard heads learn what was planted, from their own rows alone, within a stated memory."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.risk.calibration.platt import Platt
from mist_jax.risk.features import Samples, StoredSite, gather_samples
from mist_jax.risk.perceptron import training
from mist_jax.risk.perceptron.batches import PaddedRows, shuffled
from mist_jax.risk.perceptron.choices import MIXTURE, Choice, fixed_choices, mixture_choice
from mist_jax.risk.perceptron.detector import HazardDetector, Perceptron
from mist_jax.risk.perceptron.epochs import Learner
from mist_jax.risk.perceptron.head import HEADS, LINEAR_HEAD, MIXING_HEAD, RISK_HEAD
from mist_jax.risk.perceptron.loss import class_weight, hazard_loss
from mist_jax.risk.perceptron.normaliser import floored, moments, normaliser
from mist_jax.risk.perceptron.training import Lesson, fit_choices
from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
from mist_jax.risk.splits import CALIBRATE, THRESHOLD, Rows
from tests.helpers.synthetic_episodes import SITE, study_episodes

QUICK = TrainConfig(hidden=16, epochs=10, learning_rate=1e-2, weight_decay=0.1, batch=64)
HORIZON = 8
MOTIONS = len(SIGNED_MOTIONS)


def quietly(epochs: int) -> None:
    """Nobody watches."""


def signal(activation, step, rng):
    """The middle stored layer (3) knows: logit 3 h_0 - 4."""
    return rng.random(len(step)) < expit(3 * activation[:, 1, 0] - 4)


def samples_of(when, **options) -> Samples:
    return gather_samples(study_episodes(when, **options), (SITE,), horizon=HORIZON)


def plan_of(samples: Samples, train: TrainConfig = QUICK) -> Plan:
    return Plan.of(samples, StudyConfig(train=train))


def auroc_of(detector: HazardDetector, samples: Samples, plan: Plan, fit) -> float:
    """Mean over folds, of x either way, on the queries that the fold tests."""
    found = []
    for k, member in enumerate(fit.members):
        assert member is not None
        rows = plan.folds.test(k, samples) & samples.valid
        score = detector.score(member, samples)[rows]
        found += [roc_auc_score(samples.risk[rows, m], score[:, m]) for m in (0, 1)]
    return float(np.mean(found))


@pytest.fixture(scope="module")
def planted():
    samples = samples_of(signal, scenes=120)
    plan = plan_of(samples)
    return samples, plan, RISK_HEAD.fit(samples, plan, quietly)


@pytest.fixture(scope="module")
def fits(planted):
    """Of a head, by its detector: each is fitted once."""
    samples, plan, fit = planted
    known = {RISK_HEAD: fit}

    def of(detector):
        if detector not in known:
            known[detector] = detector.fit(samples, plan, quietly)
        return known[detector]

    return of


@pytest.mark.parametrize("detector", HEADS, ids=lambda detector: detector.name)
def test_a_planted_signal_is_found_at_its_layer_near_the_bayes_value(planted, fits, detector):
    samples, plan, _ = planted
    fit = fits(detector)
    assert fit.choices == ("layer 1", "layer 3") + (MIXTURE,) * detector.mixes
    assert (fit.loss[1] < fit.loss[0]).all()
    assert "layer 1" not in fit.chosen
    valid = samples.valid
    bayes = np.mean(
        [roc_auc_score(samples.risk[valid, m], samples.activation[valid, 1, 0]) for m in (0, 1)]
    )
    # A half of the scenes moves along x+, the other along x-, and nothing tells which.
    # One that remembers has twice the inputs to learn the same from.
    assert auroc_of(detector, samples, plan, fit) > bayes - (0.2 if detector.remembers else 0.16)


@pytest.mark.parametrize("detector", [RISK_HEAD, MIXING_HEAD], ids=lambda detector: detector.name)
def test_no_layer_is_read_that_risk_leaves_to_steering(planted, fits, detector):
    assert planted[1].last_layer == 3
    for member in fits(detector).members:
        assert not member["gain"][4:].any()
        assert member["gain"][3].any()
        assert member["layer"] == 3


@pytest.mark.parametrize("detector", HEADS, ids=lambda detector: detector.name)
def test_members_depend_on_their_own_rows_alone_to_the_last_bit(planted, detector):
    """Everything that fold 0's member may not see is replaced by noise and other labels."""
    samples, plan, _ = planted
    plan = replace(plan, train=replace(QUICK, epochs=5))
    rows = plan.folds.labelled(0, samples)
    mine = np.isin(samples.episode, samples.episode[rows.train | rows.select])
    assert not mine[np.isin(plan.folds.fold, (0, CALIBRATE, THRESHOLD))[samples.episode]].any()
    rng = np.random.default_rng(1)
    values = samples.activation.copy()
    values[~mine] = rng.normal(5, 9, size=values[~mine].shape)
    label = samples.label
    steps = np.where(mine[:, None], label.steps_to_event, np.inf).astype(np.float32)
    other = replace(
        samples,
        sites={SITE: StoredSite(samples.layers, values)},
        labels={**samples.labels, "first": replace(label, steps_to_event=steps)},
    )
    before, after = (detector.fit(s, plan, quietly) for s in (samples, other))
    jax.tree.map(np.testing.assert_array_equal, before.members[0], after.members[0])
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, before.members[1], after.members[1])


def test_the_same_seed_gives_the_same_bits_and_another_one_other_heads(planted):
    samples, plan, fit = planted
    again = RISK_HEAD.fit(samples, plan, quietly)
    jax.tree.map(np.testing.assert_array_equal, fit.members, again.members)
    other = replace(plan, train=replace(QUICK, seed=1))
    seeded = RISK_HEAD.fit(samples, other, quietly)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, seeded.members[0], fit.members[0])


@pytest.mark.parametrize("detector", HEADS, ids=lambda detector: detector.name)
def test_what_ships_says_query_by_query_what_its_members_say_together(planted, fits, detector):
    """Online, in the forward's protocol, against the offline scores and the agreed formula."""
    samples, plan, _ = planted
    fit = fits(detector)
    rng = np.random.default_rng(0)
    platts = [Platt(*rng.normal(1, 0.3, (2, MOTIONS)).astype(np.float32)) for _ in fit.members]
    ensemble = Platt(*rng.normal(1, 0.3, (2, MOTIONS)).astype(np.float32))
    head = detector.ship(fit.members, platts, ensemble, samples, plan)
    assert (head.layer, head.sites, head.widths) == (3, (SITE,), (16,))
    scores = [detector.score(member, samples) for member in fit.members]
    mean = np.mean([platt(score) for platt, score in zip(platts, scores, strict=True)], axis=0)
    expected = ensemble(np.log(mean) - np.log1p(-mean))

    @jax.jit
    def query(x, memory):
        reading = head.start(1)
        for at, layer in enumerate(samples.layers):
            absorbed = head.absorb(reading, SITE, jnp.asarray(layer), x[:, at])
            reads = head.reads(SITE, jnp.asarray(layer))
            reading = {SITE: jnp.where(reads, absorbed[SITE], reading[SITE])}
        return head.forecast(reading, jnp.zeros((1, 8)), memory)

    for episode in (0, 7):
        memory = head.no_memory(1)
        for row in np.flatnonzero(samples.episode == episode):
            x = jnp.asarray(samples.activation[row : row + 1], jnp.float32)
            risk, memory = query(x, memory)
            np.testing.assert_allclose(risk[0], expected[row], rtol=1e-3, atol=1e-5)


def toy_lesson(queries: int = 400, seed: int = 0, layers: int = 3, width: int = 8):
    """Sites, choices and a lesson of two folds whose first motion a feature of layer 1 drives."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(queries, layers, width)).astype(np.float32)
    event = np.zeros((queries, 2, MOTIONS), bool)
    event[:, 0, 0] = values[:, min(1, layers - 1), 0] > 0.8
    at_risk = np.ones_like(event)
    at_risk[:, 1] = ~event[:, 0]
    episode = np.arange(queries) // 10
    half = episode % 2 == 0
    members = [Rows(half, ~half), Rows(~half, half)]
    lesson = Lesson(event, at_risk, members, episode)
    sites = {SITE: StoredSite(tuple(range(layers)), values)}
    return sites, [Choice(f"layer {i}", ((i,),)) for i in range(layers)], lesson


TOY = TrainConfig(hidden=8, epochs=5, batch=64, learning_rate=1e-2)


@pytest.mark.parametrize(
    "kind", ["perceptron", pytest.param("recurrent", marks=pytest.mark.nightly)]
)
def test_heads_fitted_in_turns_are_those_fitted_at_once(kind):
    sites, choices, lesson = toy_lesson()
    told: list[float] = []
    whole = fit_choices(sites, choices, lesson, Learner(kind, False, TOY), told.append)
    assert sum(told) == pytest.approx(1)
    alone = [fit_choices(sites, [one], lesson, Learner(kind, False, TOY)) for one in choices]
    for c, one in enumerate(alone):
        np.testing.assert_allclose(one.loss[0], whole.loss[c], rtol=1e-4)
    tight = replace(TOY, memory_limit=smallest_limit(sites, choices, lesson, kind))
    told.clear()
    turns = fit_choices(sites, choices, lesson, Learner(kind, False, tight), told.append)
    assert sum(told) == pytest.approx(1)
    assert len(told) > 3, "several turns"
    np.testing.assert_allclose(turns.loss, whole.loss, rtol=1e-4)


def test_only_the_recurrent_head_learns_what_was_said_at_the_beginning():
    """Whether an episode's fourth query is followed by an event shows at its first one alone."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1600, 1, 4)).astype(np.float32)
    event = np.zeros((1600, 2, MOTIONS), bool)
    event[3::4, 0, 0] = values[0::4, 0, 0] > 0
    at_risk = np.zeros_like(event)
    at_risk[3::4, 0] = True
    episode = np.arange(1600) // 4
    half = episode % 2 == 0
    lesson = Lesson(event, at_risk, [Rows(half, ~half)], episode)
    sites, choices = {SITE: StoredSite((0,), values)}, [Choice("layer 0", ((0,),))]
    config = replace(TOY, hidden=16, epochs=30, patience=30)
    recurrent, perceptron = (
        fit_choices(sites, choices, lesson, Learner(kind, kind == "perceptron", config)).loss.min()
        for kind in ("recurrent", "perceptron")
    )
    assert perceptron > 0.6, "a coin's entropy is 0.69"
    assert recurrent < 0.35


def smallest_limit(sites, choices, lesson, kind: str) -> int:
    """Bytes of one choice and one fold."""
    learner = Learner(kind, False, TOY)
    rows = training.sequences_of(lesson, learner)
    sizes = training.sizes_of(sites, choices[0], lesson, learner, rows)
    return sizes.fixed + sizes.data + sizes.per_fold


def test_a_memory_limit_that_holds_no_head_is_one_line():
    sites, choices, lesson = toy_lesson()
    tight = replace(TOY, memory_limit=10_000)
    with pytest.raises(UserError, match=r"one layer of 400 queries of width 8 needs 0\.00 GiB"):
        fit_choices(sites, choices, lesson, Learner("linear", False, tight))


@pytest.mark.parametrize(
    ("kind", "remembers", "layers", "noise"),
    [
        ("linear", False, 1, (0.0,)),
        ("perceptron", True, 1, (0.0, 1.0)),
        ("perceptron", False, 3, (0.0, 0.5, 1.0)),
        ("recurrent", False, 1, (0.0, 1.0)),
    ],
)
def test_peak_memory_stays_within_the_limit_as_the_compiler_counts_it(
    monkeypatch, kind, remembers, layers, noise
):
    sites, choices, lesson = toy_lesson(3000, layers=6, width=96)
    if layers > 1:
        mixture = mixture_choice(choices, layers)
        assert mixture is not None
        choices = [mixture]
    limit = 24 * 2**20
    config = TrainConfig(hidden=32, epochs=1, input_noise=noise, memory_limit=limit)
    peaks = []
    real = training.compiled

    def measured(*static):
        run = real(*static)

        def train(*arguments):
            counted = run.lower(*arguments).compile().memory_analysis()
            peaks.append(
                counted.argument_size_in_bytes
                + counted.output_size_in_bytes
                + counted.temp_size_in_bytes
                - counted.alias_size_in_bytes
            )
            return run(*arguments)

        return train

    monkeypatch.setattr(training, "compiled", measured)
    fit_choices(sites, choices, lesson, Learner(kind, remembers, config))
    assert max(peaks) <= limit
    assert max(peaks) > limit / 8, "an estimate far too careful wastes the device"


def test_hazard_loss_is_the_likelihood_of_survival_and_its_gradient():
    rng = np.random.default_rng(0)
    hazard = rng.normal(size=(6, 3, 2))
    steps = np.asarray([[0, 9], [1, 2], [9, 9], [2, 0], [9, 1], [9, 9]])  # window of the event
    window = np.arange(3)[None, :, None]
    event, at_risk = steps[:, None] == window, steps[:, None] >= window
    at_risk[5] = False  # censored
    weight = np.ones((2, 2), np.float32)

    def loss(hazard):
        parts = [jnp.asarray(p) for p in (event, at_risk, weight)]
        return np.asarray(hazard_loss(jnp.asarray(hazard, jnp.float32), *parts))

    expected = np.zeros(6)
    for row in range(5):
        for motion in range(2):
            log = 0.0
            for w in range(min(steps[row, motion], 2) + 1):
                p = expit(hazard[row, w, motion])
                log += np.log(p) if w == steps[row, motion] else np.log(1 - p)
            expected[row] -= log
    np.testing.assert_allclose(loss(hazard), expected, rtol=1e-5)
    known = [jnp.asarray(p) for p in (event, at_risk, weight)]
    gradient = np.asarray(
        jax.grad(lambda h: hazard_loss(h, *known).sum())(jnp.asarray(hazard, jnp.float32))
    )
    for at in [(0, 0, 0), (0, 1, 0), (1, 2, 1), (5, 0, 0), (2, 2, 1)]:
        up, down = hazard.copy(), hazard.copy()
        up[at] += 1e-2
        down[at] -= 1e-2
        slope = (np.sum(loss(up)) - np.sum(loss(down))) / 2e-2
        assert gradient[at] == pytest.approx(slope, abs=2e-3)


def test_events_weigh_as_much_as_their_absence_and_absent_classes_nothing():
    rng = np.random.default_rng(0)
    event = rng.random((500, 2, 4)) < np.asarray([0.1, 0.4, 0.001, 0.0])
    at_risk = rng.random(event.shape) < 0.8
    weight = class_weight(event, at_risk, most=20.0)
    cells = np.where(event, weight[1], weight[0])
    for motion in range(3):
        here = at_risk[..., motion]
        assert cells[..., motion][here].mean() == pytest.approx(1, abs=1e-5)
        positive = cells[..., motion][here & event[..., motion]].sum()
        negative = cells[..., motion][here & ~event[..., motion]].sum()
        assert positive == pytest.approx(negative, rel=1e-4) or weight[1, motion] / weight[
            0, motion
        ] == pytest.approx(20)
    assert not weight[:, 3].any()


def test_an_epoch_holds_every_row_of_a_member_once():
    members = [np.arange(3, 40), np.arange(5)]
    order, present = shuffled(members, 8, 3, np.random.default_rng(0))
    for k, rows in enumerate(members):
        for epoch in range(3):
            assert sorted(order[k, epoch][present[k, epoch]]) == list(rows)
    assert (order[0, 0] != order[0, 1]).any()


def test_padded_episodes_hold_their_queries_in_order():
    whole = PaddedRows.episodes(np.asarray([0, 0, 0, 1, 2, 2]))
    assert whole.rows[whole.here].tolist() == [0, 1, 2, 3, 4, 5]
    assert whole.rows.tolist() == [[0, 1, 2], [3, 0, 0], [4, 5, 0]]
    assert whole.within(np.asarray([1, 0, 0, 0, 0, 1], bool)).tolist() == [0, 2]


def test_the_normaliser_on_the_device_is_that_of_the_host_without_cancellation():
    rng = np.random.default_rng(0)
    x = rng.normal([1000.0, 0.0, 5.0], [0.5, 2.0, 0.0], size=(5000, 3)).astype(np.float32)
    rows = rng.permutation(5000)[:3000]
    padded = np.append(rows, np.zeros(200, int)).reshape(-1, 128)
    present = (np.arange(3200) < 3000).reshape(padded.shape)
    mean, spread = moments(jnp.asarray(x[:, None]), jnp.asarray(padded), jnp.asarray(present))
    expected = normaliser(x[rows])
    np.testing.assert_allclose(mean[0], expected[0], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(floored(np.asarray(spread))[0], expected[1], rtol=1e-3)


def test_choices_take_other_sites_as_early_and_outside_ones_whole():
    def site(*layers: int) -> StoredSite:
        return StoredSite(layers, np.zeros((2, len(layers), 3), np.float16))

    samples = samples_of(signal, scenes=20)
    plan = replace(plan_of(samples), last_layer=4)
    sites = {"llm.resid": site(1, 3, 4, 5), "llm.attn": site(2, 3), "vision.dino": site(0, 7)}
    fixed = fixed_choices(sites, "llm.resid", plan)
    assert [choice.name for choice in fixed] == ["layer 1", "layer 3", "layer 4"]
    assert [choice.at for choice in fixed] == [
        ((0,), (0,), (1,)), ((1,), (1,), (1,)), ((2,), (1,), (1,))
    ]  # fmt: skip
    mixture = mixture_choice(fixed, 2)
    assert mixture is not None
    assert mixture.at == ((0, 2), (0, 1), (1, 1))
    assert mixture.features(sites).shape == (2, 2, 9)
    assert mixture.features(sites).dtype == np.float16
    with pytest.raises(UserError, match=r"of llm\.attn only layers \[5\] are stored"):
        fixed_choices({**sites, "llm.attn": site(5)}, "llm.resid", plan)


def test_features_kept_in_half_precision_teach_the_same(planted):
    samples, plan, fit = planted
    half = {SITE: StoredSite(samples.layers, samples.activation.astype(np.float16))}
    halved = RISK_HEAD.fit(replace(samples, sites=half), plan, quietly)
    np.testing.assert_allclose(halved.loss, fit.loss, rtol=0.03)


def test_several_sites_are_read_side_by_side():
    """Two sites that know little alone: what counts is the difference of theirs."""
    sites, _, lesson = toy_lesson(1200, layers=1)
    noise = np.random.default_rng(1).normal(0, 3, sites[SITE].values.shape).astype(np.float32)
    hidden = StoredSite((0,), sites[SITE].values + noise)
    both = {SITE: hidden, "llm.attn": StoredSite((0,), noise[..., :4])}
    learner = Learner(
        "linear",
        False,
        replace(TOY, epochs=20, learning_rate=0.1, weight_decay=0.0, input_noise=(0.0,)),
    )
    alone = fit_choices({SITE: hidden}, [Choice("0", ((0,),))], lesson, learner)
    together = fit_choices(both, [Choice("0", ((0,), (0,)))], lesson, learner)
    assert together.loss.mean() < 0.7 * alone.loss.mean()


def test_data_that_lack_what_a_member_reads_are_refused_in_a_line(planted):
    samples, _, fit = planted
    fewer = replace(samples, sites={SITE: StoredSite((0, 2, 4), samples.activation)})
    with pytest.raises(UserError, match=r"head reads layer \d of llm\.resid, .* \[0, 2, 4\]"):
        RISK_HEAD.score(fit.members[0], fewer)
    narrow = replace(samples, sites={SITE: StoredSite((1, 3, 5), samples.activation[..., :5])})
    with pytest.raises(UserError, match=r"trained on 16 features, .* llm\.resid \(5\)"):
        RISK_HEAD.score(fit.members[0], narrow)


def test_a_baseline_learns_from_a_plain_matrix(planted):
    samples, plan, _ = planted
    oracle = Perceptron("oracle", inputs=lambda samples: samples.activation[:, 1, :1])
    nothing = Perceptron("nothing", inputs=lambda samples: samples.activation[:, 1, 1:2])
    scores = [
        auroc_of(one, samples, plan, one.fit(samples, plan, quietly)) for one in (oracle, nothing)
    ]
    assert scores[0] > 0.8
    assert abs(scores[1] - 0.5) < 0.15


def test_motions_that_are_not_usable_carry_no_loss(planted):
    samples, plan, _ = planted
    assert plan.usable.tolist() == [True, True] + [False] * (MOTIONS - 2)
    loud = replace(plan, train=replace(QUICK, epochs=2))
    fit = LINEAR_HEAD.fit(samples, loud, quietly)
    for member in fit.members:
        assert member is not None
        assert not member["output_kernel"][..., 2:].any()
        assert member["output_kernel"][..., :2].any()
