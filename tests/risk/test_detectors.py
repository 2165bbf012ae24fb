"""The seam of detectors: one registration is a row of the cards, and a reader gates in the forward.

A detector that gates says the same inside the compiled forward as outside, also after the disk.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from sklearn.linear_model import LogisticRegression

from mist_jax.axes import ACTION_DIMENSIONS, Array, Float, Int
from mist_jax.errors import UserError
from mist_jax.intervention.risk_head import RiskHead
from mist_jax.loading import load_policy
from mist_jax.risk.detector import Detector, Fit, GatingDetector, Refit, Shipped
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.judging.scorecard import scorecard
from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
from mist_jax.risk.published.mahalanobis import MahalanobisReader
from mist_jax.risk.study.checkpoint import TrainedRisk, restore_risk_head, save_risk_head
from mist_jax.risk.study.crossfit import fit_all
from mist_jax.risk.study.figures import draw_all
from mist_jax.risk.study.judge import judge, judge_failures, plan_of, read
from mist_jax.risk.study.registry import DETECTORS, gating_names, registry_of
from mist_jax.risk.study.train import train_risk
from tests.helpers.rollout_samples import SMALL, inputs_of, save_tiny_policy, spec
from tests.helpers.synthetic_episodes import SITE, contact, episode

QUICK = TrainConfig(epochs=20, hidden=4, input_noise=(0.0,))


@dataclass(frozen=True)
class Height:
    """Low is dangerous: the height of the end effector, which needs no learning."""

    name: str = "height"
    learner: str = "height"
    claims: str = "contact"

    def epochs(self, plan):
        return 0

    def fit(self, samples, plan, progress):
        return Fit([{"sign": np.float32(-1.0)}] * plan.folds.count)

    def refit(self, fit, samples, plan):
        return Refit(fit.members[0], self.score(fit.members[0], samples), np.full(2, np.nan))

    def score(self, member, samples):
        return member["sign"] * np.repeat(samples.state[:, 2:3], len(ACTION_DIMENSIONS), axis=1)


@struct.dataclass
class Probe:
    """A line through the activations of one layer, the same for all dimensions."""

    weight: Float[Array, "D"]
    scale: Float[Array, "A"]
    shift: Float[Array, "A"]
    layer: Int[Array, ""]
    site: str = struct.field(pytree_node=False, default=SITE)

    @property
    def width(self) -> int:
        return self.weight.shape[-1]

    def probability(self, activation):
        return jax.nn.sigmoid(self.scale * (activation @ self.weight)[:, None] + self.shift)


@dataclass(frozen=True)
class LinearProbe:
    """scikit-learn's logistic regression of any contact on the first stored layer."""

    name: str = "probe"
    learner: str = "probe"
    claims: str = "contact"
    reader = Probe

    def epochs(self, plan):
        return 0

    def fit(self, samples, plan, progress):
        rows = [plan.folds.labelled(k, samples).train for k in range(plan.folds.count)]
        return Fit([{"weight": _line(samples, train)} for train in rows])

    def score(self, member, samples):
        line = samples.activation[:, 0] @ member["weight"]
        return np.repeat(line[:, None], len(ACTION_DIMENSIONS), axis=1)

    def refit(self, fit, samples, plan):
        shipped = self.ship(fit, samples, plan)
        return Refit({"weight": _line(samples, samples.valid)}, shipped.outside, np.full(2, np.nan))

    def ship(self, fit, samples, plan):
        fold = plan.folds.fold[samples.episode]
        every = np.stack([self.score(member, samples) for member in fit.members])
        whole, layer = jnp.asarray(_line(samples, samples.valid)), jnp.int32(samples.layers[0])
        return Shipped(
            every[fold, np.arange(len(samples))],
            lambda platt: Probe(
                whole, jnp.asarray(platt.scale), jnp.asarray(platt.shift), layer, samples.site
            ),
            np.full(len(samples.layers), np.nan),
        )


def _line(samples: Samples, rows: np.ndarray) -> np.ndarray:
    fitted = LogisticRegression().fit(samples.activation[rows, 0], samples.risk[rows].any(axis=1))
    return fitted.coef_[0].astype(np.float32)


EXTENDED = registry_of((*DETECTORS.values(), Height(), LinearProbe()))  # pyright: ignore


def study(site: str = SITE, model: str = "toy@1", width: int = 12) -> Samples:
    """Half of the episodes fail. Before a contact along x the end effector is low and the first
    feature of layer 1 high; in a failure the first feature of the last layer, 3, is high.
    """
    rng = np.random.default_rng(0)
    made = []
    for scene in range(40):
        failed = scene % 2 == 0
        activation = rng.normal(size=(12, 2, width)).astype(np.float32)
        risky = rng.random(12) < (0.4 if failed else 0.1)
        activation[:, 0, 0] += 3 * risky
        activation[:, 1, 0] += 3 * failed
        contacts = [contact(8 * int(q) + 3, {0: 1.0}) for q in np.flatnonzero(risky)]
        one = episode(
            contacts,
            task=scene % 4,
            state=scene,
            outcome="failure" if failed else "success",
            activation=activation,
            layers=(1, 3),
            model=model,
        )
        height = np.repeat(0.3 - 0.2 * risky + 0.01 * rng.normal(size=12), 8)
        place = np.stack([np.zeros(96), np.zeros(96), height], axis=1).astype(np.float32)
        queries = replace(one.queries, activations={site: activation}, layers={site: (1, 3)})
        made.append(replace(one, steps=replace(one.steps, eef_pos=place), queries=queries))
    return gather_samples(made, site, horizon=8)


def trained_with(name: str, samples: Samples, *beside: str) -> TrainedRisk:
    few = registry_of(EXTENDED[one] for one in (name, *beside))
    return train_risk(samples, "h", StudyConfig(detector=name, train=QUICK), detectors=few)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return study()


@pytest.fixture(scope="module")
def head(samples) -> TrainedRisk:
    return trained_with("head", samples)


@pytest.fixture(scope="module")
def distances(samples) -> TrainedRisk:
    return trained_with("Mahalanobis", samples, "height")


def test_one_registration_is_a_row_of_the_card(samples, tmp_path: Path):
    trained = trained_with("head", samples, "clock", "height", "probe")
    evidence = judge(trained, samples, EXTENDED)
    card = scorecard(evidence, replicates=20)
    assert list(card["detectors"]) == ["head", "clock", "height", "probe"]
    assert card["detectors"]["height"]["dimensions"]["x"]["auroc"]["value"] > 0.99
    assert card["detectors"]["height"]["dimensions"]["x"]["ece"]["value"] < 0.05
    assert card["detectors"]["clock"]["dimensions"]["x"]["auroc"]["value"] < 0.7
    assert "height" in card["head_minus"]
    assert all(path.stat().st_size > 5000 for path in draw_all(
        tmp_path, evidence, card, trained.metadata))  # fmt: skip


class Low(Height):
    """The same as one number per query, said of failures."""

    def score(self, member, samples):
        return -samples.state[:, 2]


def test_one_registration_is_a_row_of_the_card_of_failures(samples, head):
    few = registry_of((DETECTORS["head"], Low("low", "low", "failure")))  # pyright: ignore
    card = judge_failures(judge(head, samples, few), plan_of(head.metadata, samples), detectors=few)
    assert list(card["detectors"]) == ["low", "largest risk", "clock"]
    assert card["detectors"]["low"]["contact"]["value"] > 0.99


def test_detectors_of_one_learner_share_a_fit(samples):
    fitted = []

    class Counted(Height):
        def fit(self, samples, plan, progress):
            fitted.append(self.name)
            return super().fit(samples, plan, progress)

    plan = Plan.of(samples, StudyConfig(train=QUICK))
    two: list[Detector] = [Counted("one", "same"), Counted("two", "same"), Counted("three", "own")]  # pyright: ignore
    fits = fit_all(two, samples, plan)
    assert fitted == ["one", "three"]
    assert fits["one"] is fits["two"] is not fits["three"]


def test_those_that_can_gate_are_found_and_others_are_refused(samples):
    assert gating_names() == ("head", "Mahalanobis")
    assert isinstance(LinearProbe(), GatingDetector)
    with pytest.raises(UserError, match="no detector 'clock' can open gates; there are head, Mah"):
        train_risk(samples, "h", StudyConfig(detector="clock", train=QUICK))


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gating")
    save_tiny_policy(folder / "policy")
    return load_policy(folder / "policy")


@pytest.mark.parametrize(
    ("name", "reader"),
    [("head", RiskHead), ("Mahalanobis", MahalanobisReader), ("probe", Probe)],
)
def test_a_trained_reader_says_inside_the_forward_what_it_says_outside(
    name, reader, policy, tmp_path: Path
):
    samples = study(model=policy.identity, width=SMALL.width)
    trained = trained_with(name, samples)
    save_risk_head(tmp_path, trained)
    restored, metadata = restore_risk_head(tmp_path, detectors=EXTENDED)
    assert type(restored) is type(trained.head) is reader
    assert (metadata.detector, restored.site, int(restored.layer)) == (
        name, SITE, metadata.layer,
    )  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, restored, trained.head)

    key = spec().key
    inputs = [inputs_of(key, step) for step in (0, 8, 16)]
    said = policy.predict_inputs(inputs, sites=(SITE,), risk_head=restored)
    outside = restored.probability(jnp.asarray(said.activations[SITE][:, metadata.layer]))
    assert np.ptp(said.risk[:, 0]) > 0, "the risk depends on what is read"
    np.testing.assert_allclose(said.risk, outside, rtol=1e-4, atol=1e-6)


def test_mahalanobis_inside_is_the_published_score_calibrated(samples, distances):
    """In float32 the reader says of queries what the float64 score of SAFE's detector does."""
    trained = distances
    detector = DETECTORS["Mahalanobis"]
    one = {name: np.asarray(leaf)[0] for name, leaf in trained.members["Mahalanobis"].items()}
    scale, shift = one.pop("platt_scale"), one.pop("platt_shift")
    inside = MahalanobisReader(
        **one, platt_scale=jnp.asarray(scale), platt_shift=jnp.asarray(shift)
    )
    plan = plan_of(trained.metadata, samples)
    fit = detector.fit(samples, plan, lambda epochs: None)
    score = detector.score(fit.members[0], samples)  # pyright: ignore
    expected = 1 / (1 + np.exp(-(scale * score[:, None] + shift)))
    np.testing.assert_allclose(read(inside, samples), expected, rtol=1e-4, atol=1e-6)
    assert scale[0] > 0
    assert not scale[1:].any(), "unusable dimensions report their base rate"


def test_a_failure_detector_that_ships_is_judged_on_contacts_like_the_head(samples, distances):
    trained = distances
    evidence = judge(trained, samples, EXTENDED)
    card = scorecard(evidence, replicates=50)
    assert list(card["detectors"]) == ["Mahalanobis", "height"]
    assert card["detectors"]["Mahalanobis"]["dimensions"]["x"]["auroc"]["value"] > 0.6
    assert any(line.startswith("The Mahalanobis ") for line in card["verdict"])
    threshold = trained.metadata.alarm_threshold
    assert np.isfinite(threshold).tolist() == [True] + [False] * 6
    clean = np.isin(samples.episode, np.flatnonzero(samples.clean))
    alarmed = samples.episode[clean & (read(trained.head, samples) > threshold).any(axis=1)]
    assert len(np.unique(alarmed)) <= 0.4 * samples.clean.sum()


def test_mahalanobis_that_gates_leaves_later_layers_to_steer(samples, distances):
    assert (distances.metadata.layer, distances.metadata.last_layer) == (1, 2)
    assert set(np.asarray(distances.members["Mahalanobis"]["layer"])) == {1}
    assert max(samples.layers) == 3


def test_a_detector_of_contacts_that_cannot_be_refitted_is_one_line(samples):
    class Unfit:
        name = learner = "unfit"
        claims = "contact"
        epochs, fit, score = Height.epochs, Height.fit, Height.score

    few = registry_of([DETECTORS["head"], Unfit()])  # pyright: ignore
    with pytest.raises(UserError, match="'unfit' claims contacts and has no `refit`"):
        train_risk(samples, "h", StudyConfig(train=QUICK), detectors=few)


def test_mahalanobis_without_failures_is_one_line(samples):
    facts = tuple(replace(facts, outcome="success") for facts in samples.episodes)
    with pytest.raises(UserError, match="Mahalanobis found nothing to learn from"):
        trained_with("Mahalanobis", replace(samples, episodes=facts))


@pytest.mark.parametrize("name", ["head", "Mahalanobis"])
def test_the_site_of_training_is_the_readers_and_survives_the_disk(name, samples, tmp_path):
    trained = trained_with(name, study(site="llm.attn"))
    save_risk_head(tmp_path, trained)
    head, metadata = restore_risk_head(tmp_path, detectors=EXTENDED)
    assert head.site == trained.head.site == metadata.site == "llm.attn"
    with pytest.raises(UserError, match=r"reads llm\.attn, these samples hold llm\.resid"):
        judge(trained, samples, EXTENDED)


def test_a_detector_that_is_not_registered_is_one_line(samples, tmp_path: Path):
    save_risk_head(tmp_path, trained_with("probe", samples))
    with pytest.raises(UserError, match="no detector 'probe' can open gates"):
        restore_risk_head(tmp_path)


def test_a_head_and_what_was_trained_are_shown_in_a_line():
    trained = trained_with("head", study())
    shown = repr(trained.head)
    assert shown.startswith(
        f"RiskHead(site='llm.resid', width=12, hidden=4, layer={trained.metadata.layer}"
    )
    assert len(repr(trained)) < 250
    assert "'head'" in repr(trained)
    seen = []
    jax.jit(lambda head: seen.append(repr(head)) or head.mean)(trained.head)
    assert seen == ["RiskHead(site='llm.resid', width=12, hidden=4)"]
