"""An arm of one's own is one file and its name: it is run, drawn and told as the others are."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.build import build_arms, build_controller
from mist_jax.evaluation.arms.checks import check_arms
from mist_jax.evaluation.arms.registry import arm_rows, row_of
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.evaluation.report.document import write_report
from mist_jax.extensions import VARIABLE
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.loading import load_policy
from mist_jax.policy.openvla_oft.sites import sites_of
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import Turn
from tests.helpers.evaluation_samples import SETUP, study
from tests.helpers.rollout_samples import SMALL, inputs_of, save_tiny_policy
from tests.helpers.synthetic_episodes import episode

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "examples"
NAMES = ("none", "safe_stop", "retreat")
MOTION = np.array([0.5, -0.25, 0, 0, 0, 0.125, 1], np.float32)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv(VARIABLE, "arm")


def chunks(folder: Path, threshold: float) -> dict[str, np.ndarray]:
    """What every arm executes, asked the same in one batch."""
    save_tiny_policy(folder / "policy")
    head = RiskHead.initial(jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=0)
    numbers = RunNumbers(alarm_threshold=np.full(14, threshold, np.float32))
    controller = build_controller(NAMES, head, numbers, sites=sites_of(SMALL), batch=len(NAMES))
    made = build_arms(NAMES, numbers)
    policy = load_policy(folder / "policy")
    actor = PolicyActor(policy, len(NAMES), controller=controller, arms=made)
    keys = [EpisodeKey("libero_spatial", 0, 0, 0, name) for name in NAMES]
    inputs = inputs_of(keys[0], 8)
    turns = [Turn(key, 8, inputs=inputs, motion=MOTION) for key in keys]
    answers = actor.answer(turns, [0] * len(turns))
    return {name: answer.chunk for name, answer in zip(NAMES, answers, strict=True)}


def test_it_acts_at_an_alarm_and_is_the_unsteered_policy_without_one(registered, tmp_path):
    alarmed, quiet = chunks(tmp_path, threshold=-1.0), chunks(tmp_path, threshold=np.inf)
    np.testing.assert_array_equal(alarmed["retreat"][:, :6], np.stack([-MOTION[:6]] * 8))
    np.testing.assert_array_equal(alarmed["retreat"][:, 6], alarmed["none"][:, 6])
    np.testing.assert_array_equal(quiet["retreat"], quiet["none"])


def retold() -> list:
    """The sample study with its safe stops as episodes of the new arm."""
    return [
        dataclasses.replace(r, arm="retreat") if r.arm == "safe_stop" else r for r in study(tasks=3)
    ]


def test_it_stands_in_summary_figures_and_report_with_its_colour_and_words(registered, tmp_path):
    row = row_of("retreat")
    said = write_report(tmp_path, retold())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["arms"]) == ["none", "placebo", "mist", "retreat"]
    assert summary["arms"]["retreat"]["what"] == row.what
    against = {e["against"] for e in summary["effects"] if e["arm"] == "retreat"}
    assert against == {"none"}
    assert row.caveat in summary["caveats"]
    page = (tmp_path / "report.html").read_text()
    assert row.what in page
    assert row.caveat in page
    assert row.colour in page
    assert any(line.startswith("retreat: ") for line in said)


def test_a_run_whose_extension_is_not_at_hand_is_still_told(tmp_path):
    write_report(tmp_path, retold())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["arms"]["retreat"]["what"] == ""
    assert {e["against"] for e in summary["effects"] if e["arm"] == "retreat"} == {"none"}
    assert "#be123c" not in (tmp_path / "report.html").read_text()


def test_the_binary_that_judges_again_takes_its_words_from_the_extension(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{ROOT}")
    made = episode(length=16)
    with EpisodeWriter(tmp_path / "run", SETUP.dataset_info("libero_spatial", 8, {})) as writer:
        for arm in ("none", "retreat"):
            key = dataclasses.replace(made.key, arm=arm)
            queries = dataclasses.replace(made.queries, activations={}, layers={})
            writer.append(
                dataclasses.replace(
                    made, key=key, queries=queries, model=SETUP.model, assets=SETUP.assets
                )
            )
    command = [sys.executable, "-m", "experiments.judge_evaluation", f"--data_dir={tmp_path}/run"]
    for name, flags in (("plain", []), ("named", ["--extensions=arm"])):
        subprocess.run(
            [*command, f"--output_dir={tmp_path / name}", *flags], cwd=ROOT, check=True, timeout=200
        )
    what = {
        name: json.loads((tmp_path / name / "summary.json").read_text())["arms"]["retreat"]["what"]
        for name in ("plain", "named")
    }
    assert what == {"plain": "", "named": importlib.import_module("arm").ARMS[0].what}


CONTROL = """
import dataclasses
from mist_jax.evaluation.arms.row import Control
from mist_jax.evaluation.arms.unsteered import NONE

COIN = dataclasses.replace(
    NONE, name="coin", control=Control("tossed coins", "luck is not ruled out")
)
BOLD = dataclasses.replace(NONE, name="bold", control=None, compared_with=("none", "coin"))
ARMS = (COIN, BOLD)
"""


def test_a_control_of_ones_own_is_compared_with_and_missed_where_it_is_absent(
    tmp_path, monkeypatch
):
    (tmp_path / "coin_extension.py").write_text(CONTROL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, "coin_extension")
    names = {"safe_stop": "bold", "mist": "coin"}
    told = [
        dataclasses.replace(r, arm=names.get(r.arm, r.arm))
        for r in study(tasks=2)
        if r.arm != "placebo"
    ]
    write_report(tmp_path, told)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {e["against"] for e in summary["effects"] if e["arm"] == "bold"} == {"none", "coin"}
    assert {e["against"] for e in summary["effects"] if e["arm"] == "coin"} == {"none"}
    assert "Paired differences from tossed coins" in (tmp_path / "report.html").read_text()
    write_report(tmp_path, [r for r in told if r.arm != "coin"])
    caveats = json.loads((tmp_path / "summary.json").read_text())["caveats"]
    assert "bold without the arm coin: luck is not ruled out." in caveats


def test_a_run_that_lacks_what_the_arm_needs_is_refused(registered):
    with pytest.raises(UserError, match="--interventions=retreat listens to alarms: give"):
        check_arms(["none", "retreat"], [])
    check_arms(["none", "retreat"], ["risk"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "mist"}, "two arms are called 'mist'"),
        ({"compared_with": ("safe_stop",)}, "is compared with 'safe_stop', no control"),
        ({"pushes": ("gently",)}, "uses the push 'gently': there are mist, linear"),
    ],
)
def test_a_row_that_contradicts_the_table_is_one_clear_line(tmp_path, monkeypatch, change, message):
    name = f"arm_extension_{next(iter(change))}"
    (tmp_path / f"{name}.py").write_text(
        "import dataclasses\nfrom mist_jax.evaluation.arms.unsteered import NONE\n"
        f"ARMS = (dataclasses.replace(NONE, **{ {'name': 'own', **change} }),)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(UserError, match=message):
        arm_rows()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interventions=none,retreat"], "unknown intervention 'retreat'"),
        (["--interventions=none,retreat", "--extensions=arm"], "retreat listens to alarms"),
    ],
)
def test_the_binary_knows_it_by_its_modules_name(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{ROOT}")
    command = [sys.executable, "-m", "experiments.run_evaluation", f"--output_dir={tmp_path}/out"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
