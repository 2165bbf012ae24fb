"""Made-up results with known figures, for the tests of summary and report."""

import dataclasses

import numpy as np

from mist_jax.evaluation.results import EpisodeResult, HarmfulContact, QueryTrace
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.risk.labels import DrivenEvent

SETUP = RunSetup(
    model="toy@1",
    assets="lite",
    risk_head="abc",
    causal_bank="def",
    intent="against_motion",
    push="table",
    coefficient=0.04,
    threshold=(0.5,) * 4 + (None,) * 2 + (0.5,) * 8,
    policy_scenes=(),
    commands=("python -m experiments.run_evaluation --output_dir=out",),
    code_versions=("0.1.0",),
)


def contact(step: int = 20, force: float = 12.0, dim: int = 0, link: str = "link5", on="plate"):
    share = tuple(float(i == dim) for i in range(7))
    return HarmfulContact(step, link, on, False, force, 0.3, (0.1, 0.0, 0.9), share, 0.01)


def result(
    arm: str = "none",
    task: int = 0,
    state: int = 0,
    seed: int = 0,
    *,
    outcome: str = "success",
    contacts: tuple[HarmfulContact, ...] = (),
    steps: int = 96,
    acted: tuple[int, ...] = (),
    risk: np.ndarray | None = None,
    setup: RunSetup = SETUP,
    **changes,
) -> EpisodeResult:
    crashed = outcome == "crashed"
    steps = 0 if crashed else steps
    at = tuple(range(0, steps, 8))
    if risk is None:
        risk = np.full((len(at), 14), 0.1)
    made = EpisodeResult(
        suite="libero_spatial",
        task_id=task,
        initial_state=state,
        seed=seed,
        arm=arm,
        instruction=f"pick up bowl {task}",
        outcome=outcome,  # pyright: ignore[reportArgumentType]
        error="RuntimeError: unstable" if crashed else "",
        steps=steps,
        max_steps=220,
        harmful_contacts=len(contacts),
        peak_force=max((one.peak_force for one in contacts), default=0.0),
        impulse=sum(one.impulse for one in contacts),
        first_harmful_step=min((one.step for one in contacts), default=None),
        contacts=contacts,
        # Each its own, driven along + by the dimension that has its share.
        events=tuple(
            DrivenEvent(one.step, one.step, (2 * int(np.argmax(one.share)),), exogenous=False)
            for one in contacts
        ),
        queries=QueryTrace(
            step=at,
            risk=tuple(tuple(row) for row in risk.round(5).tolist()),
            alarms=tuple(int(n) for n in (risk > setup.alarm_threshold).sum(axis=1)),
            acted=acted,
            gate=0.1 if acted else 0.0,
        ),
        seconds_per_query=None if crashed else 0.05,
        seen_in_training=False,
        video=None,
        stored="2026-01-02T03:04:05+00:00",
        setup=setup,
    )
    return dataclasses.replace(made, **changes)


def study(
    arms: tuple[str, ...] = ("none", "safe_stop", "placebo", "mist"),
    tasks: int = 10,
    states: int = 5,
    seed: int = 0,
) -> list[EpisodeResult]:
    """Random episodes: contacts that x, z or yaw drive, risk that rises before them, arms that
    differ in how often they collide and fail.
    """
    rng = np.random.default_rng(seed)
    rates = {
        "none": (0.75, 0.5), "safe_stop": (0.3, 0.25), "placebo": (0.7, 0.5), "mist": (0.74, 0.3),
    }  # fmt: skip
    made = []
    links, things = ("link5", "right_gripper", "leftfinger"), ("plate", "table", "ramekin", "stove")
    for task in range(tasks):
        for state in range(states):
            luck = rng.random(2)
            for arm in arms:
                success, collides = rates[arm]
                drawn = np.where(rng.random(2) < 0.6, luck, rng.random(2))
                steps = int(rng.integers(80, 130)) if drawn[0] < success else 220
                risk = rng.beta(1, 9, (len(range(0, steps, 8)), 14))
                contacts = []
                if drawn[1] < collides:
                    for _ in range(rng.integers(1, 4)):
                        dim = int(rng.choice([0, 2, 5]))
                        onset = int(rng.integers(16, steps))
                        queries = slice(max(onset // 8 - 1, 0), onset // 8 + 1)
                        risk[queries, 2 * dim] += rng.uniform(0, 0.6)
                        contacts.append(
                            contact(
                                onset,
                                float(np.exp(rng.normal(2.5, 1))),
                                dim,
                                str(rng.choice(links)),
                                str(rng.choice(things)),
                            )
                        )
                acted = np.flatnonzero((risk > 0.5).any(axis=1)) if arm != "none" else ()
                made.append(
                    result(
                        arm,
                        task,
                        state,
                        outcome="success" if steps < 220 else "failure",
                        contacts=tuple(sorted(contacts, key=lambda one: one.step)),
                        steps=steps,
                        risk=np.clip(risk, 0, 1),
                        acted=tuple(int(query) for query in acted),
                    )
                )
    return made
