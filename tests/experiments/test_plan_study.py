"""plan_study and the run that it registers: what is fixed cannot be typed, nor anything differ."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mist_jax.episodes.writer import EpisodeWriter
from mist_jax.evaluation.judge import judge
from mist_jax.evaluation.learnt_parts import load_learnt_parts
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.evaluation.study.preregistration import Preregistration
from mist_jax.loading import load_policy
from mist_jax.record.episode import EpisodeKey
from mist_jax.risk.study.checkpoint import save_risk_head, to_optional
from mist_jax.simulator.environment.perturbation import PerturbationSpec
from mist_jax.steering.causal.checkpoint import save_causal_bank
from tests.helpers.causal_samples import tiny_causal_bank
from tests.helpers.episode_samples import random_episode
from tests.helpers.made_up_risk import made_up_risk
from tests.helpers.rollout_samples import SMALL, save_tiny_policy

ROOT = Path(__file__).parents[2]
ARMS = ("none", "placebo", "mist")
PERTURBATION = PerturbationSpec("mixed", onset=(3, 9), length=(5, 9), strength=(0.25, 0.75))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny policy with its risk head and causal bank, and an evaluation of them on 12 scenes."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny_policy(folder / "policy")
    policy = load_policy(folder / "policy")
    thresholds = (0.5, None) * 7
    save_risk_head(folder / "risk", made_up_risk(policy.identity, SMALL.width, thresholds))
    save_causal_bank(folder / "causal", tiny_causal_bank(policy))
    save_causal_bank(folder / "other", tiny_causal_bank(policy, layer=3))
    parts = load_learnt_parts(policy, risk=folder / "risk", causal=folder / "causal")
    setup = RunSetup(
        model=policy.identity,
        assets="lite",
        dtype=policy.dtype,
        risk_head=parts.risk_digest,
        causal_bank=parts.causal_digest,
        intent="against_motion",
        push="linear",
        coefficient=0.03,
        rotation_coefficient=0.2,
        threshold=to_optional(np.where(np.isfinite(parts.threshold), 0.625, np.inf)),
        camera_res=64,
        render="fast",
        perturbation=str(PERTURBATION),
        trained_on=tuple(parts.trained_on or ()),
        commands=(f"python -m experiments.run_evaluation --risk_head={folder / 'risk'}",),
    )
    store(folder / "tuning", setup, range(1000, 1012))
    store(folder / "opened", setup, range(4995, 5001))
    store(folder / "before", dataclasses.replace(setup, dtype=""), range(1000, 1003))
    return folder


def store(folder: Path, setup: RunSetup, states, arms=ARMS) -> None:
    """Every third unsteered episode collides, one of the steered ones does."""
    info = setup.dataset_info("libero_spatial", 8, {})
    with EpisodeWriter(folder, info) as writer:
        for state in states:
            for arm in arms:
                episode = random_episode(info, seed=state)
                hit = state % 3 == 0 if arm != "mist" else state == states[0]
                contacts = tuple(
                    dataclasses.replace(one, harmful=hit, onset=True) for one in episode.contacts
                )
                key = EpisodeKey("libero_spatial", 0, state, 0, arm)
                writer.append(
                    dataclasses.replace(episode, key=key, outcome="success", contacts=contacts)
                )


def run(name: str, *flags: str, status: int = 1) -> str:
    """What a binary says; of a refusal, the one line."""
    command = [sys.executable, "-m", f"experiments.{name}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    if status:
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr if status else done.stdout


def plan(made: Path, output: Path, *flags: str, status: int = 0) -> str:
    return run(
        "plan_study",
        f"--tuning={made / 'tuning'}",
        f"--output_dir={output}",
        "--study_states=sealed",
        "--task_ids=0-1",
        "--n_episodes=2",
        *flags,
        status=status,
    )


@pytest.fixture(scope="module")
def registered(made):
    said = plan(made, made / "study")
    assert "preregistered" in said
    assert "(a) collision: mist fewer than none" in said
    return made / "study" / "preregistration.json"


def evaluation(made: Path, registered: Path, output: Path, *flags: str, status: int = 1) -> str:
    return run(
        "run_evaluation",
        f"--preregistration={registered}",
        f"--model_name={made / 'policy'}",
        f"--risk_head={made / 'risk'}",
        "--assets=lite",
        f"--output_dir={output}",
        *([] if any("causal" in flag for flag in flags) else [f"--causal_bank={made / 'causal'}"]),
        *flags,
        status=status,
    )


def test_what_is_registered_is_what_was_tuned_on_other_scenes(made, registered):
    study = Preregistration.read(registered)
    tuned = judge(made / "tuning")[0].setup
    assert study.setup["coefficient"] == 0.03
    assert study.setup["causal_bank"] == tuned.causal_bank
    assert study.setup["threshold"] == [0.625, None] * 7
    assert study.setup["perturbation"] == str(PERTURBATION)
    assert set(study.initial_states) == {0, 1}
    assert all(5000 <= s < 7000 for states in study.initial_states.values() for s in states)
    assert study.n_episodes == 2
    assert study.arms == ARMS
    assert [one.name for one in study.endpoints] == ["a", "b", "c"]
    rates = study.planned["power"]["endpoints"][0]["rates"]
    # Scenes 1002, 1005, 1008 and 1011 hit something unsteered, scene 1000 steered.
    assert (rates["won"], rates["lost"]) == pytest.approx((4 / 12, 1 / 12))


def test_what_is_registered_names_no_folder_of_this_machine(made, registered):
    study = Preregistration.read(registered)
    assert study.planned["tuning_commands"] == [
        "python -m experiments.run_evaluation --risk_head=risk"
    ]
    assert "plan_study --tuning=tuning --output_dir=study" in study.command
    assert str(made) not in registered.read_text()


def test_a_preregistration_is_never_written_over_and_not_after_the_episodes(made, registered):
    before = registered.read_bytes()
    assert "never written over" in plan(made, registered.parent, "--seed=3", status=1)
    assert registered.read_bytes() == before
    assert "holds something (evaluation)" in plan(made, made / "tuning", status=1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output_dir=OUT"], "give --tuning"),
        (["--base_rate=0.2"], "type --base_rate and --reduction"),
        (["--tuning=MADE/policy"], "is not the folder of an evaluation"),
        (
            ["--tuning=MADE/before", "--study_states=sealed", "--output_dir=OUT"],
            "does not say what its policy computed in",
        ),
        (["--tuning=MADE/opened"], "has met the sealed scene 5000"),
        (["--tuning=MADE/tuning", "--study_states=tuning"], "is not one to report on"),
        (["--tuning=MADE/tuning", "--study_states=sealed", "--n_episodes=9999"], "each is run on"),
        (["--tuning=MADE/tuning", "--interventions=none,mist"], "lacks placebo"),
        (["--tuning=MADE/tuning", "--initial_states=sealed"], "--initial_states has no say here"),
        (["--tuning=MADE/tuning", "--env=libero_goal"], "the suite is that of --tuning"),
        (
            ["--tuning=MADE/tuning", "--output_dir=OUT", "--interventions=none,placebo,mist,mits"],
            "unknown intervention 'mits'",
        ),
        (["--base_rate=0.2", "--reduction=0.5", "--discordance=0.05"], "a discordance of 0.05"),
    ],
)
def test_a_study_that_cannot_be_planned_is_one_line(made, tmp_path, flags, message):
    flags = [f.replace("MADE", str(made)).replace("OUT", str(tmp_path / "out")) for f in flags]
    assert message in run("plan_study", *flags)
    assert not (tmp_path / "out").exists()


def test_the_sample_size_needs_no_evaluation(made):
    said = run("plan_study", "--base_rate=0.25", "--reduction=0.5", "--task_ids=0-9", status=0)
    assert "400 scenes, each once with every arm" in said


# The flags of a run, parsed again and again beside the preregistration.
_TYPED = """
import sys
from absl import flags
from mist_jax.commands import run_evaluation
from mist_jax.commands.flags import study_flags
from mist_jax.errors import UserError
for flag in sys.argv[2:]:
    flags.FLAGS.unparse_flags()
    for one in flags.FLAGS:
        flags.FLAGS[one].unparse()
    flags.FLAGS(["x", "--output_dir=x", f"--preregistration={sys.argv[1]}", flag])
    try:
        study_flags.preregistered()
        print(f"ACCEPTED {flag}")
    except UserError as error:
        print(error)
"""
FIXED = (
    "--coefficient=0.03",  # also the registered value: it comes from the file
    "--rotation_coefficient=0.5",
    "--risk_threshold=0.5",
    "--intent=against_motion",
    "--push=table",
    "--perturbation=none",
    "--perturbation_onset=1,2",
    "--perturbation_length=1,2",
    "--perturbation_strength=1,2",
    "--initial_states=tuning",
    "--task_ids=0",
    "--n_episodes=3",
    "--seed=1",
    "--env=libero_object",
    "--equivalence_margin=0.1",
    "--min_force=2",
    "--camera_res=128",
    "--render=exact",
    "--batch_size=2",
)


def test_what_is_fixed_is_not_typed(registered):
    done = subprocess.run(
        [sys.executable, "-c", _TYPED, str(registered), *FIXED],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = [f"{one.split('=')[0]} is fixed by {registered}: leave it out" for one in FIXED]
    assert done.stdout.splitlines() == expected


def test_a_coefficient_beside_the_preregistration_ends_the_run(made, registered, tmp_path):
    said = evaluation(made, registered, tmp_path / "out", "--coefficient=0.03")
    assert "--coefficient is fixed by" in said
    assert not (tmp_path / "out").exists()


def test_an_arm_a_part_or_assets_that_were_not_registered_are_refused(made, registered, tmp_path):
    out = tmp_path / "out"
    assert "--interventions=lift is no arm of" in evaluation(
        made, registered, out, "--interventions=none,lift"
    )
    said = evaluation(made, registered, out, f"--causal_bank={made / 'other'}")
    assert "the preregistration has causal_bank = " in said
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**json.loads(registered.read_text()), "level": 0.5}))
    assert "is not as plan_study writes it" in evaluation(made, path, out)
    assert not out.exists()


def test_sealed_scenes_are_not_steered_without_a_registered_study(made, tmp_path):
    said = run(
        "run_evaluation",
        f"--model_name={made / 'policy'}",
        f"--risk_head={made / 'risk'}",
        f"--causal_bank={made / 'causal'}",
        "--initial_states=sealed:1",
        "--interventions=none,mist",
        "--assets=lite",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert "--interventions=mist on the sealed scene" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.libero
@pytest.mark.slow
def test_the_registered_study_is_run_and_says_that_it_is_too_small(made, registered, tmp_path):
    out = tmp_path / "out"
    said = evaluation(made, registered, out, "--num_workers=2", status=0)
    study = Preregistration.read(registered)
    results = judge(out)
    assert {one.key for one in results} == {key for arm in ARMS for key in study.keys(arm)}
    assert {one.setup.perturbation for one in results} == {str(PERTURBATION)}
    assert all(one.setup.preregistration == study.as_json() for one in results)
    assert "Endpoint (a) collision: mist fewer than none: cannot be judged (4 scenes" in said
    # Run again it has nothing to do, and another study does not get into the folder.
    evaluation(made, registered, out, status=0)
    plan(made, tmp_path / "second", "--seed=1")
    second = tmp_path / "second" / "preregistration.json"
    assert "holds episodes with preregistration = " in evaluation(made, second, out)
