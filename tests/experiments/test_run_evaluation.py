"""Evaluations: all arms on the same episodes, resuming, and what a user sees of a mistake."""

import dataclasses
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mist_jax.action_units import METRES, RADIANS, to_units
from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.episodes.dataset_info import Site
from mist_jax.episodes.index import INDEX_FILE
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.build import build_arms, build_controller
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.evaluation.evaluate import EvaluationPlan, evaluate
from mist_jax.evaluation.judge import judge
from mist_jax.evaluation.learnt_parts import load_learnt_parts
from mist_jax.evaluation.report.document import write_report
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.loading import load_policy
from mist_jax.policy.openvla_oft.sites import sites_of
from mist_jax.risk.features import gather_samples
from mist_jax.risk.study.checkpoint import (
    restore_trained,
    save_risk_head,
    static_of,
    to_optional,
)
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import WorkerConfig
from mist_jax.simulator.environment.perturbation import PerturbationSpec
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.causal.checkpoint import save_causal_bank
from mist_jax.steering.checkpoint import restore_bank, save_bank
from mist_jax.steering.extraction import random_directions
from tests.helpers.causal_samples import tiny_causal_bank
from tests.helpers.made_up_risk import made_up_risk
from tests.helpers.rollout_samples import SMALL, ScriptedWorker, save_tiny_policy

ROOT = Path(__file__).parents[2]
ARMS = ("none", "safe_stop", "placebo", "flipped", "action_edit", "mist")
SITE = "llm.resid"
THRESHOLD = (0.5, None) * 7  # one way of each dimension alarms: both would want nothing


class InlineFleet:
    """A fleet without processes; the person at the keyboard stops it after some episodes."""

    def __init__(self, folder: Path, model: str, workers: int = 3, stop_after: int = 1000):
        self.num_workers, self.replaced = workers, 0
        self._folder, self._model, self._left = folder, model, stop_after
        self._workers, self._turns, self._awake = {}, [], threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @property
    def idle_tasks(self):
        return [None] * (self.num_workers - len(self._workers))

    def wake(self):
        self._awake.set()

    def start(self, spec):
        worker = ScriptedWorker(WorkerConfig(assets="lite", model=str(self._folder)))
        self._workers[spec.key] = worker
        self._turns.append(worker.start(spec))
        worker._first = False  # seeds 1 and 2 are then those of workers that behave

    def act(self, key, chunk):
        moved = np.asarray(chunk).mean(axis=0)
        self._turns.append(dataclasses.replace(self._workers[key].act(chunk), motion=moved))

    def wait(self):
        if not self._turns:
            self._awake.wait()
        self._awake.clear()
        turns, self._turns = [self._of_the_model(turn) for turn in self._turns], []
        for turn in turns:
            if turn.episode is not None:
                if not self._left:
                    raise KeyboardInterrupt
                self._left -= 1
                del self._workers[turn.key]
        return turns

    def _of_the_model(self, turn):
        if turn.episode is None:
            return turn
        episode = dataclasses.replace(turn.episode, model=self._model)
        return dataclasses.replace(turn, episode=episode)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A tiny policy on disk, with a risk head and banks that are made up but whole."""
    folder = tmp_path_factory.mktemp("learnt")
    save_tiny_policy(folder / "policy")
    save_tiny_policy(folder / "other", seed=1)
    model = load_policy(folder / "policy").identity
    trained = made_up_risk(model, SMALL.width, THRESHOLD)
    save_risk_head(folder / "risk", trained)
    found = random_directions(SIGNED_MOTIONS, 2, SMALL.width, seed=0)
    bank = SteeringBank.join(
        [dataclasses.replace(found, method="contrast")],
        np.array([3.0, 3.0], np.float32),
        SMALL.layers,
        BankMetadata(layers=(2, 3), model=model, horizon=16, share=0.25),
    )
    save_bank(folder / "bank", bank)
    policy = load_policy(folder / "policy")
    save_causal_bank(folder / "causal", tiny_causal_bank(policy))
    save_causal_bank(folder / "early", tiny_causal_bank(policy, layer=0))
    return folder


def parts_of(learnt, policy):
    return load_learnt_parts(policy, risk=learnt / "risk", causal=learnt / "causal")


def run(
    learnt, output: Path, *, arms=ARMS, stop_after=1000, workers=3, fleet=InlineFleet, **changes
):
    policy = load_policy(learnt / "policy")
    parts = parts_of(learnt, policy)
    setup = RunSetup(
        model=policy.identity,
        assets="lite",
        risk_head=parts.risk_digest,
        causal_bank=parts.causal_digest,
        threshold=to_optional(parts.threshold),
        trained_on=tuple(parts.trained_on or ()),
        coefficient=changes.pop("coefficient", 0.04),
        rotation_coefficient=0.4,
        perturbation=str(changes.get("perturbation", "none")),
        batch_size=3,
    )
    plan = EvaluationPlan(
        directory=output,
        info=setup.dataset_info("libero_spatial", 8, {SITE: Site((1, 2), SMALL.width)}),
        suite="libero_spatial",
        initial_states={0: (1, 2), 1: (1, 2)},
        n_episodes=2,
        seed=0,
        arms=arms,
    )
    numbers = RunNumbers(
        alarm_threshold=parts.threshold,
        size=to_units(setup.coefficient, setup.rotation_coefficient, 8),
        causal=parts.causal,
    )
    controller = build_controller(ARMS, parts.risk_head, numbers, sites=sites_of(SMALL), batch=3)
    made = build_arms(ARMS, numbers)
    actor = PolicyActor(policy, 3, sites=(SITE,), layers=(1, 2), controller=controller, arms=made)
    scratch = output.with_name(f"{output.name}-scratch")
    scratch.mkdir(exist_ok=True)
    started = fleet(scratch, policy.identity, workers, stop_after)
    return evaluate(dataclasses.replace(plan, **changes), lambda: started, actor)  # pyright: ignore


def comparable(results):
    """All but what tells the time."""
    return {r.key: dataclasses.replace(r, stored="", seconds_per_query=None) for r in results}


def test_an_interrupted_evaluation_ends_as_an_uninterrupted_one(learnt, tmp_path):
    whole = run(learnt, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(learnt, tmp_path / "parts", stop_after=5)
    assert 0 < len(judge(tmp_path / "parts")) < len(whole)
    resumed = run(learnt, tmp_path / "parts", workers=1)
    assert comparable(resumed) == comparable(whole)
    assert len(whole) == 2 * 2 * len(ARMS)
    assert comparable(judge(tmp_path / "parts")) == comparable(whole)


def test_arms_differ_where_they_act_and_nowhere_else(learnt, tmp_path):
    results = run(learnt, tmp_path / "out")
    of = {r.key: r for r in results}
    acted: Counter[str] = Counter()
    for r in results:
        acted[r.arm] += len(r.queries.acted)
        none = of[dataclasses.replace(r.key, arm="none")]
        # The scripted worker shows every arm the same pictures: equal risk.
        assert r.queries.risk == none.queries.risk
        assert r.queries.alarms == none.queries.alarms
        assert r.seen_in_training == (r.scene == ("libero_spatial", 0, 1))
    assert acted["none"] == 0
    assert acted["mist"] == acted["placebo"] == acted["flipped"] == acted["action_edit"] > 0
    # Three queries an episode: the stop never has to let go.
    alarmed = sum(1 for r in results if r.arm == "safe_stop" for n in r.queries.alarms if n)
    assert acted["safe_stop"] == alarmed >= acted["mist"]


def test_the_dose_of_every_arm_is_that_of_its_stored_queries(learnt, tmp_path):
    results = run(learnt, tmp_path / "out")
    write_report(tmp_path / "out", results)
    arms = json.loads((tmp_path / "out" / "summary.json").read_text())["arms"]
    unit = np.array([METRES] * 3 + [RADIANS] * 3) * 8
    for name, row in arms.items():
        stored = [e.queries for e in read_episodes(tmp_path / "out") if e.key.arm == name]
        wanted = np.concatenate([np.asarray(queries.wanted) for queries in stored])[:, :6] * unit
        realised = np.concatenate([np.asarray(queries.realised) for queries in stored])
        realised = realised[:, :6] * unit
        used = wanted.any(axis=1) | realised.any(axis=1)
        dose = row["dose"]
        assert (dose["queries"] > 0) == (name != "none")
        if name == "none":
            assert dose["realised_metres"] is None
            continue
        for part, word in ((slice(0, 3), "metres"), (slice(3, 6), "radians")):
            lengths = np.linalg.norm(realised[used][:, part], axis=1)
            np.testing.assert_allclose(dose[f"realised_{word}"], lengths.mean(), rtol=1e-4)
        if name == "safe_stop":
            assert dose["wanted_metres"] is dose["ratio"] is None
            continue
        lengths = np.linalg.norm(wanted[used][:, :3], axis=1)
        np.testing.assert_allclose(dose["wanted_metres"], lengths.mean(), rtol=1e-4)
    same = [arms[name]["dose"]["wanted_metres"] for name in ("mist", "flipped", "action_edit")]
    np.testing.assert_allclose(same, same[0], rtol=1e-6)
    assert "realised over wanted" in (tmp_path / "out" / "report.html").read_text()


def test_an_evaluation_can_be_trained_on_and_only_its_unsteered_arm_is(learnt, tmp_path):
    results = run(learnt, tmp_path / "out")
    samples = gather_samples(read_episodes(tmp_path / "out"), (SITE,))
    assert {facts.key for facts in samples.episodes} == {r.key for r in results if r.arm == "none"}
    assert samples.sites[SITE].values.shape[1:] == (2, SMALL.width)
    assert samples.layers == (1, 2)


def test_more_arms_and_states_go_into_the_same_folder(learnt, tmp_path):
    run(learnt, tmp_path / "out", arms=("none",), initial_states={0: (1,), 1: (1,)}, n_episodes=1)
    results = run(learnt, tmp_path / "out", n_episodes=5)
    seeds = {(r.initial_state, r.seed) for r in results}
    assert seeds == {(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)}


def test_every_arm_of_a_pair_is_ordered_with_the_same_perturbation(learnt, tmp_path):
    specs = []

    class Listening(InlineFleet):
        def start(self, spec):
            specs.append(spec)
            super().start(spec)

    drawn = PerturbationSpec("mixed", length=(5, 9))
    results = run(learnt, tmp_path / "out", fleet=Listening, perturbation=drawn)
    assert results[0].setup.perturbation == str(drawn)
    of_a_scene = {}
    for spec in specs:
        assert spec.perturbation == drawn
        key = spec.key
        begun = spec.perturbation.begin(key, 220)
        of_a_scene.setdefault((key.task_id, key.initial_state, key.seed), set()).add(begun)
    assert {len(draws) for draws in of_a_scene.values()} == {1}
    assert len(set.union(*of_a_scene.values())) == len(of_a_scene)
    with pytest.raises(UserError, match=r"perturbation = 'mixed .*, this run has 'none'"):
        run(learnt, tmp_path / "out", n_episodes=3)


def test_another_setup_or_no_resume_does_not_touch_what_is_there(learnt, tmp_path):
    run(learnt, tmp_path / "out", n_episodes=1)
    before = (tmp_path / "out" / INDEX_FILE).read_bytes()
    with pytest.raises(UserError, match=r"coefficient = 0\.04, this run has 0\.07"):
        run(learnt, tmp_path / "out", coefficient=0.07)
    with pytest.raises(UserError, match=f"holds {2 * len(ARMS)} episodes"):
        run(learnt, tmp_path / "out", resume=False)
    assert (tmp_path / "out" / INDEX_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "parts",
    [{"risk": "risk"}, {"causal": "causal"}, {"directions": "bank", "method": "contrast"}],
    ids=lambda parts: next(iter(parts)),
)
def test_parts_of_another_model_are_refused(learnt, parts):
    other = load_policy(learnt / "other")
    folders = {name: word if name == "method" else learnt / word for name, word in parts.items()}
    with pytest.raises(UserError, match="was made from 'tiny@"):
        load_learnt_parts(other, **folders)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"horizon": 8}, r"extracted with --horizon=8 --share=0\.25, .* trained with 16 and 0\.25"),
        ({"share": 0.5}, r"extracted with --horizon=16 --share=0\.5, .* trained with 16 and 0\.25"),
        ({"site": "llm.nowhere"}, r"for the site 'llm\.nowhere', which 'tiny@.*' does not have"),
    ],
)
def test_a_bank_that_does_not_fit_the_head_or_the_model_is_refused(learnt, tmp_path, changed, says):
    policy, bank = load_policy(learnt / "policy"), restore_bank(learnt / "bank")
    metadata = dataclasses.replace(bank.metadata, **changed)
    save_bank(tmp_path, dataclasses.replace(bank, metadata=metadata))
    with pytest.raises(UserError, match=says):
        load_learnt_parts(policy, risk=learnt / "risk", directions=tmp_path, method="contrast")


def test_a_head_at_a_site_that_the_model_does_not_have_is_refused(learnt, tmp_path):
    trained = restore_trained(learnt / "risk")
    head = dataclasses.replace(trained.head, sites=("llm.nowhere",))  # pyright: ignore
    metadata = dataclasses.replace(trained.metadata, static=static_of(head))
    save_risk_head(tmp_path, dataclasses.replace(trained, head=head, metadata=metadata))
    policy = load_policy(learnt / "policy")
    with pytest.raises(UserError, match=r"for the site 'llm\.nowhere'"):
        load_learnt_parts(policy, risk=tmp_path)


def test_a_missing_method_lists_those_there_are(learnt):
    policy = load_policy(learnt / "policy")
    with pytest.raises(UserError, match="no 'linear' directions; it has contrast"):
        load_learnt_parts(policy, directions=learnt / "bank", method="linear")


def test_directions_that_are_not_proven_are_refused_unless_asked_for(learnt):
    policy, given = load_policy(learnt / "policy"), {"directions": learnt / "bank"}
    with pytest.raises(UserError, match="--allow_unproven"):
        load_learnt_parts(policy, **given, method="contrast")
    parts = load_learnt_parts(policy, **given, method="contrast", allow_unproven=True)
    assert parts.directions is not None


def evaluation(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.run_evaluation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interventions=none,mits"], "unknown intervention 'mits'"),
        (["--interventions=none,mist"], "give --risk_head"),
        (["--interventions=none", "--risk_threshold=2"], "--risk_threshold=2: give one number"),
        (["--interventions=none", "--push=vjp"], "--push=vjp: value should be one of"),
        (["--interventions=none", "--model_name=expert"], "the expert is no model"),
        (["--interventions=none", "--video_initial_states=99"], "no initial state 99"),
        (["--interventions=none", "--risk_head=OTHER"], "is not a risk head"),
        (["--interventions=none,directions", "--steering_vectors=OTHER"], "give --risk_head"),
        (["--interventions=none,mist", "--risk_head=RISK"], "give --causal_bank"),
        (["--interventions=none", "--causal_bank=OTHER"], "is not a causal bank"),
        (
            ["--interventions=none,mist", "--risk_head=RISK", "--causal_bank=EARLY"],
            "cannot act (risk is read up to layer 0): the causal bank pushes at layer 0",
        ),
        (
            ["--interventions=mist", "--risk_head=RISK", "--causal_bank=CAUSAL", "--intent=calm"],
            "no intent 'calm'; it has against_motion",
        ),
        (
            ["--interventions=replayed", "--causal_bank=CAUSAL", "--replay_from=CAUSAL"],
            "--replay_from: ",
        ),
        (
            ["--interventions=oracle", "--causal_bank=CAUSAL", "--oracle_from=OUT"],
            "--oracle_from is --output_dir",
        ),
    ],
)
def test_bad_flags_end_with_one_line_and_leave_nothing(learnt, tmp_path, arguments, message):
    folders = {"OTHER": "bank", "RISK": "risk", "EARLY": "early", "CAUSAL": "causal"}
    places = {word: learnt / name for word, name in folders.items()} | {"OUT": tmp_path / "out"}
    for word, folder in places.items():
        arguments = [one.replace(word, str(folder)) for one in arguments]
    given = [f"--model_name={learnt / 'policy'}", "--assets=lite", *arguments]
    result = evaluation(f"--output_dir={tmp_path / 'out'}", *given)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.libero
@pytest.mark.slow
def test_an_arm_that_never_acts_repeats_the_unsteered_episode_bit_for_bit(learnt, tmp_path):
    arguments = [
        f"--model_name={learnt / 'policy'}",
        f"--risk_head={learnt / 'risk'}",
        f"--causal_bank={learnt / 'causal'}",
        "--interventions=none,mist",
        "--risk_threshold=1",
        "--assets=lite",
        "--render=fast",
        "--camera_res=64",
        "--task_ids=0",
        "--n_episodes=1",
        "--num_workers=2",
        f"--output_dir={tmp_path / 'out'}",
    ]
    result = evaluation(*arguments)
    assert result.returncode == 0, result.stderr
    none, mist = sorted(judge(tmp_path / "out"), key=lambda r: r.arm, reverse=True)
    assert mist.queries == none.queries
    assert (mist.outcome, mist.steps, mist.contacts) == (none.outcome, none.steps, none.contacts)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["arms"]["mist"]["untouched_pairs_alike"] == 1
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_finished_evaluation_is_judged_again_from_its_folder(learnt, tmp_path):
    run(learnt, tmp_path / "out", arms=("none",))
    command = [sys.executable, "-m", "experiments.judge_evaluation"]
    command += [f"--data_dir={tmp_path / 'out'}", f"--output_dir={tmp_path / 'again'}"]
    again = subprocess.run(
        [*command, "--risk_threshold=0.9", "--horizon=24"],
        cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    run_of = json.loads((tmp_path / "again" / "summary.json").read_text())["run"]
    assert (run_of["threshold"], run_of["horizon"]) == ([0.9] * 14, 24)
    assert run_of["episodes"] == 4
