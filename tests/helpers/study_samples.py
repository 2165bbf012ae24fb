"""A registered study and results of it, for the tests of what it may say."""

import dataclasses
from collections.abc import Mapping

from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.study.endpoint import primary_endpoints
from mist_jax.evaluation.study.preregistration import Preregistration, fixed_setup
from tests.helpers.evaluation_samples import SETUP, contact, result

FIRST = 7000
ARMS = ("none", "placebo", "mist")
UNSEEN = dataclasses.replace(SETUP, trained_on=("libero_spatial/0/1000",))


def registered(tasks: int = 4, states: int = 30, **changes) -> Preregistration:
    made = Preregistration(
        suite="libero_spatial",
        scenes={str(task): f"{FIRST}-{FIRST + states - 1}" for task in range(tasks)},
        seed=0,
        arms=(*ARMS, "shrink"),
        endpoints=primary_endpoints(),
        level=0.05,
        setup=fixed_setup(UNSEEN),
        planned={"tuning_scenes": 10},
        written="2026-01-02T03:04:05+00:00",
        code_version="0.1.0",
        command="python -m experiments.plan_study",
    )
    return dataclasses.replace(made, **changes)


def results_of(
    study: Preregistration, hits: Mapping[str, int], failures: Mapping[str, int], crashed: int = 0
) -> list[EpisodeResult]:
    """The first so many episodes of an arm hit something, the last so many fail.

    The last `crashed` ones of `mist` end in the simulator.
    """
    setup = dataclasses.replace(UNSEEN, preregistration=study.as_json())
    made = []
    for arm in ARMS:
        keys = list(study.keys(arm))
        for number, key in enumerate(keys):
            failed = number >= len(keys) - failures.get(arm, 0)
            lost = arm == "mist" and number >= len(keys) - crashed
            made.append(
                result(
                    arm,
                    key.task_id,
                    key.initial_state,
                    outcome="crashed" if lost else "failure" if failed else "success",
                    contacts=(contact(),) if number < hits.get(arm, 0) and not lost else (),
                    acted=(1,) if arm != "none" else (),
                    setup=setup,
                )
            )
    return made
