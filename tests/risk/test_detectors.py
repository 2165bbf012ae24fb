"""The seam of detectors: one registration is a row of the cards, and a reader gates in the forward.

A detector that gates says the same inside the compiled forward as outside, also after the disk.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.loading import load_policy
from mist_jax.risk.detector import Detector, GatingDetector
from mist_jax.risk.features import Samples, gather_samples
from mist_jax.risk.judging.cards.failures import failure_card
from mist_jax.risk.judging.cards.scorecard import scorecard
from mist_jax.risk.judging.views import ALL, WITHIN_FOLD
from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
from mist_jax.risk.study.checkpoint import TrainedRisk, restore_trained, save_risk_head
from mist_jax.risk.study.crossfit import fit_all
from mist_jax.risk.study.judge import judge
from mist_jax.risk.study.registry import DETECTORS, chosen, gating_names, registry_of
from mist_jax.risk.study.train import train_risk
from tests.helpers.probe_detector import LinearProbe, ProbeReader, Steps
from tests.helpers.rollout_samples import SMALL, inputs_of, save_tiny_policy, spec
from tests.helpers.synthetic_episodes import SITE, contact, episode

QUICK = TrainConfig(epochs=20, hidden=4, input_noise=(0.0,))


@dataclass(frozen=True)
class Height(Steps):
    """Low is dangerous: the height of the end effector, which needs no learning."""

    name: str = "height"
    learner: str = "height"

    def score(self, member, samples):
        low = -member["sign"] * samples.state[:, 2]
        return low if self.claims == "failure" else np.repeat(low[:, None], 14, axis=1)


class High(Height):
    """Takes what is safe for dangerous."""

    def score(self, member, samples):
        return -super().score(member, samples)


PROBE = LinearProbe(at=0)
EXTENDED = registry_of((*DETECTORS.values(), Height(), PROBE))  # pyright: ignore


def study(site: str = SITE, model: str = "toy@1", width: int = 12) -> Samples:
    """Half of the episodes fail. Before a contact along x the end effector is low and the first
    feature of layer 1 high; in a failure the first feature of the last layer, 3, is high.
    """
    rng = np.random.default_rng(0)
    made = []
    for scene in range(60):
        failed = scene % 2 == 0
        activation = rng.normal(size=(12, 2, width)).astype(np.float32)
        risky = rng.random(12) < (0.4 if failed else 0.1)
        activation[:, 0, 0] += 3 * risky
        activation[:, 1, 0] += 3 * failed
        contacts = [
            contact(8 * int(q) + 3, {0: 1.0}, pair=("hand", f"object {q}"))
            for q in np.flatnonzero(risky)
        ]
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
    return gather_samples(made, site, horizon=8, target="all")


def trained_with(name: str, samples: Samples, *beside: str) -> TrainedRisk:
    few = registry_of(EXTENDED[one] for one in (name, *beside))
    config = StudyConfig(detector=name, target="all", train=QUICK)
    return train_risk(samples, "h", config, detectors=few)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return study()


def test_one_registration_is_a_row_of_the_card(samples):
    trained = trained_with("probe", samples, "height")
    card = scorecard(judge(trained, samples, EXTENDED), replicates=20)
    assert list(card["detectors"]) == ["probe", "height"]
    height = card["detectors"]["height"]
    assert height[ALL]["motions"]["x+"][WITHIN_FOLD]["value"] > 0.99
    assert height["calibration"]["x+"]["ece"]["value"] < 0.05
    assert list(card["head_minus"][ALL][WITHIN_FOLD]) == ["height"]


def test_a_detector_of_failures_is_a_row_of_both_cards(samples):
    low = Height("low", "low", "failure")
    few = registry_of((PROBE, low))  # pyright: ignore[reportArgumentType]
    config = StudyConfig(detector="probe", target="all", train=QUICK)
    evidence = judge(train_risk(samples, "h", config, detectors=few), samples, few)
    card = failure_card(evidence, replicates=50)
    assert list(card["detectors"]) == ["low", "any event", "clock"]
    assert card["detectors"]["low"]["contact"]["value"] > 0.99
    contacts = scorecard(evidence, replicates=20)["detectors"]["low"]
    assert contacts[ALL]["any"][WITHIN_FOLD]["value"] > 0.99


def test_a_detector_of_failures_alarms_by_its_own_score_also_where_it_ranks_contacts_backwards(
    samples,
):
    high = High("high", "high", "failure")
    few = registry_of((PROBE, high))  # pyright: ignore[reportArgumentType]
    config = StudyConfig(detector="probe", target="all", rate=0.5, train=QUICK)
    evidence = judge(train_risk(samples, "h", config, detectors=few), samples, few)
    forecast = evidence.forecasts["high"]
    assert np.ptp(forecast.risk[evidence.stratum == 0], axis=0).max() < 1e-6
    raised, height = forecast.alarms["split conformal"], evidence.samples.state[:, 2]
    assert raised.any()
    assert height[raised].mean() > height[~raised].mean() + 0.01


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
    assert {"head", "Mahalanobis"} <= set(gating_names())
    assert isinstance(PROBE, GatingDetector)
    with pytest.raises(UserError, match="no detector 'clock' can open gates; there are head"):
        train_risk(samples, "h", StudyConfig(detector="clock", train=QUICK))


def test_rows_are_chosen_by_name_the_subject_always_among_them():
    assert list(chosen("head", ["task", "clock"])) == ["head", "clock", "task"]
    assert list(chosen("head", [])) == list(DETECTORS)
    with pytest.raises(UserError, match="no detector 'clocks'; there are head"):
        chosen("head", ["clocks"])


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gating")
    save_tiny_policy(folder / "policy")
    return load_policy(folder / "policy")


@pytest.mark.parametrize("name", ["head", "Mahalanobis", "probe"])
def test_a_trained_reader_says_inside_the_forward_what_the_ensemble_says_outside(
    name, policy, tmp_path: Path
):
    """What the forward reads are stored as samples, and judged as those of new scenes."""
    samples = study(model=policy.identity, width=SMALL.width)
    save_risk_head(tmp_path, trained_with(name, samples))
    restored = restore_trained(tmp_path, detectors=EXTENDED)
    said = policy.predict_inputs(
        [inputs_of(spec().key, 0)] * 1, sites=(SITE,), risk_head=restored.head
    )
    activation = np.asarray(said.activations[SITE])  # [1, L, D], every layer
    depth = tuple(range(activation.shape[1]))
    one = episode(state=999, length=8, activation=activation, layers=depth, model=policy.identity)
    outside = gather_samples([one], SITE, horizon=8, target="all")
    forecast = judge(restored, outside, EXTENDED).forecasts[name]
    np.testing.assert_allclose(said.signed_risk, forecast.risk, rtol=2e-3, atol=1e-5)
    assert np.ptp(said.signed_risk) > 0


def test_a_detector_that_is_not_registered_is_one_line(samples, tmp_path: Path):
    save_risk_head(tmp_path, trained_with("probe", samples))
    with pytest.raises(UserError, match="no detector 'probe' can open gates"):
        restore_trained(tmp_path)


@pytest.mark.parametrize("name", ["Mahalanobis", "probe"])
def test_the_site_of_training_is_the_readers_and_survives_the_disk(name, samples, tmp_path):
    trained = trained_with(name, study(site="llm.attn"))
    save_risk_head(tmp_path, trained)
    restored = restore_trained(tmp_path, detectors=EXTENDED)
    assert restored.head.sites == trained.head.sites == restored.metadata.sites == ("llm.attn",)
    jax.tree.map(np.testing.assert_array_equal, restored.head, trained.head)
    with pytest.raises(UserError, match=r"reads llm\.attn; these samples lack llm\.attn"):
        judge(trained, samples, EXTENDED)


def test_what_was_trained_is_shown_in_a_line(samples):
    trained = trained_with("probe", samples)
    assert isinstance(trained.head, ProbeReader)
    assert "'probe'" in repr(trained)
    assert len(repr(trained)) < 250
