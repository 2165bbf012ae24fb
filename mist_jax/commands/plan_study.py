"""How many episodes a study of steering takes, and what it will run and show, before it is run.

    python -m experiments.plan_study --base_rate=0.25 --reduction=0.3
    python -m experiments.plan_study --tuning=runs/tuning --output_dir=runs/study

The first says what sample decides. The second writes preregistration.json, once: arms, endpoints
and their order, scenes, and the coefficient, thresholds, perturbation and parts of the tuning
evaluation. `run_evaluation --preregistration=runs/study/preregistration.json`, with the folders of
its parts (`--risk_head`, `--causal_bank`, ...), then runs that study and no other.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from mist_jax.commands.flags import simulation_flags
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.errors import UserError
from mist_jax.evaluation.arms.registry import find_arm
from mist_jax.ids import format_ids, parse_ids
from mist_jax.output_folder import kind_of
from mist_jax.simulator.libero.initial_state_choice import choose_initial_states
from mist_jax.simulator.libero.suites import find_suite

if TYPE_CHECKING:
    from mist_jax.evaluation.results import EpisodeResult
    from mist_jax.evaluation.study.endpoint import Endpoint
    from mist_jax.evaluation.study.plan import StudyPower

for _name in ("env", "task_ids", "seed", "extensions"):
    flags.declare_key_flag(_name)

_TUNING = flags.DEFINE_string(
    "tuning",
    None,
    "Folder that run_evaluation wrote on tuning scenes, as the study will be run: its setup is "
    "registered, and what is not typed below is as seen there.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where preregistration.json goes; default: nothing is registered."
)
_INTERVENTIONS = flags.DEFINE_list(
    "interventions", ["none", "placebo", "mist"], "Arms that the study may run."
)
_INITIAL_STATES = flags.DEFINE_string(
    "study_states", "study", "Initial states of the study, as --initial_states: study or sealed."
)
_N_EPISODES = flags.DEFINE_integer(
    "n_episodes", None, "Scenes per task; default: all of --study_states, 40 without --tuning.", 1
)
_ALPHA = flags.DEFINE_float("alpha", 0.05, "Level of every test.", 1e-6, 0.5)
_MARGIN = flags.DEFINE_float(
    "success_margin", 0.05, "Loss of success that must be ruled out.", 0.001, 0.5
)
_TARGET = flags.DEFINE_float("target_power", 0.8, "Probability to show it that is wanted.", 0.5, 1)
_TYPED = (
    ("base_rate", "Rate of unsteered episodes with a harmful contact."),
    ("reduction", "Share of them that steering removes."),
    ("discordance", "Rate of pairs, steered and unsteered, of which one alone has a contact."),
    ("placebo_reduction", "Share of contacts that the placebo removes."),
    ("placebo_discordance", "Rate of pairs, steered and placebo, of which one alone has one."),
    ("success_difference", "Steered minus unsteered rate of success; default 0."),
    ("success_discordance", "Rate of pairs of which one alone succeeds."),
)
_ASSUMED = {
    name: flags.DEFINE_float(name, None, what, -1.0 if "diff" in name else 0.0, 1.0)
    for name, what in _TYPED
}


def main() -> None:
    """Checks the flags, computes the power, writes the preregistration."""
    if _OUTPUT_DIR.value and not _TUNING.value:
        raise UserError(
            "--output_dir: a study is registered as it was tuned: give --tuning, an evaluation "
            "with its arms on tuning scenes"
        )
    arms = tuple(name.strip() for name in _INTERVENTIONS.value)
    for name in arms if _OUTPUT_DIR.value else ():
        find_arm(name)

    # Imported after the flags were found right: this takes seconds.
    from mist_jax.evaluation.study.assumptions import Assumptions, assumed_rates
    from mist_jax.evaluation.study.endpoint import primary_endpoints
    from mist_jax.evaluation.study.plan import plan_power

    endpoints = primary_endpoints(_MARGIN.value)
    lacking = [a for one in endpoints for a in (one.arm, one.against) if a not in arms]
    if lacking:
        raise UserError(f"--interventions lacks {lacking[0]}, which the endpoints need")
    tuning: Sequence[EpisodeResult] = ()
    states: Mapping[int, tuple[int, ...]] = {}
    if _TUNING.value:
        if flags.FLAGS["env"].present:
            raise UserError("--env: the suite is that of --tuning; leave the flag out")
        tuning = _tuning(folder_of(_TUNING.value), endpoints)
        states = _scenes(tuning[0])
        pairs, tasks = sum(map(len, states.values())), len(states)
    else:
        tasks = len(simulation_flags.task_ids())
        pairs = (_N_EPISODES.value or 40) * tasks
    typed = {name: flag.value for name, flag in _ASSUMED.items() if flag.value is not None}
    rates = assumed_rates(endpoints, Assumptions(**typed), tuning)
    power = plan_power(rates, pairs, level=_ALPHA.value, target=_TARGET.value, step=max(tasks, 1))
    binary.print_table(_table(power))
    print(_sentence(power))
    if _OUTPUT_DIR.value:
        print(
            _register(folder_of(_OUTPUT_DIR.value), arms, endpoints, tuning, states, typed, power)
        )


def _tuning(folder: Path, endpoints: "Sequence[Endpoint]") -> "Sequence[EpisodeResult]":
    from mist_jax.evaluation.judge import judge
    from mist_jax.evaluation.study.choice import check_tuning

    if kind_of(folder) != "evaluation":
        raise UserError(f"--tuning: {folder} is not the folder of an evaluation")
    results = judge(folder)
    check_tuning(results, endpoints)
    return results


def _scenes(tuned: "EpisodeResult") -> dict[int, tuple[int, ...]]:
    """Of each task as many as of every other, and none that somebody has learnt from."""
    from mist_jax.evaluation.study.choice import check_unseen

    suite = find_suite(tuned.suite)
    tasks = parse_ids(simulation_flags.TASK_IDS.value, len(suite.tasks), "task")
    states = choose_initial_states(suite, tasks, _INITIAL_STATES.value)
    fewest = min(len(of_task) for of_task in states.values())
    each = _N_EPISODES.value or fewest
    if each > fewest:
        raise UserError(
            f"--n_episodes={each}: a task has {fewest} scenes, and each is run once; sample more "
            "(experiments.sample_scenes)"
        )
    states = {task_id: of_task[:each] for task_id, of_task in states.items()}
    check_unseen(suite.name, states, tuned)
    return states


def _register(
    folder: Path,
    arms: tuple[str, ...],
    endpoints: "tuple[Endpoint, ...]",
    tuning: "Sequence[EpisodeResult]",
    states: Mapping[int, tuple[int, ...]],
    typed: Mapping[str, float],
    power: "StudyPower",
) -> str:
    from mist_jax.checkpoint import code_version
    from mist_jax.evaluation.study.preregistration import (
        PREREGISTRATION_FILE,
        Preregistration,
        fixed_setup,
    )
    from mist_jax.publishing.facts import without_paths

    if (found := kind_of(folder)) is not None:
        raise UserError(f"{folder} holds something ({found}): a study is registered before it runs")
    setup = tuning[0].setup
    if not setup.dtype:
        raise UserError(
            "--tuning does not say what its policy computed in, which a study is held to: evaluate "
            "again, with --dtype or its default"
        )
    planned: dict[str, Any] = {
        # Nothing of it can be changed later, so it is for others from the start.
        "tuning_commands": [without_paths(one) for one in setup.commands],
        "tuning_scenes": len({result.scene for result in tuning}),
        "typed": dict(typed),
        "power": dataclasses.asdict(power),
    }
    registered = Preregistration(
        suite=tuning[0].suite,
        scenes={str(task_id): format_ids(of_task) for task_id, of_task in states.items()},
        seed=simulation_flags.SEED.value,
        arms=arms,
        endpoints=endpoints,
        level=_ALPHA.value,
        setup=fixed_setup(setup),
        planned=planned,
        written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        code_version=code_version(),
        command=without_paths(binary.command_line()),
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PREREGISTRATION_FILE
    registered.write(path)
    return (
        f"preregistered: {path} ({registered.as_json()['digest']}); run the tuning evaluation's "
        f"command with --preregistration={path} in place of what it fixes"
    )


def _table(power: "StudyPower") -> Table:
    table = Table(title=f"{power.pairs} scenes, each once with every arm")
    for column in ("endpoint", "won", "lost", "power", "scenes needed"):
        table.add_column(column, justify="left" if column == "endpoint" else "right")
    for one in power.endpoints:
        table.add_row(
            str(one.endpoint),
            f"{one.rates.won:.1%}",
            f"{one.rates.lost:.1%}",
            f"{one.power:.1%}",
            "too many" if one.needed is None else str(one.needed),
        )
    return table


def _sentence(power: "StudyPower") -> str:
    needed = "more than anybody runs" if power.needed is None else f"{power.needed} scenes"
    return (
        f"All endpoints, in their order, are shown with a probability of {power.all_shown:.0%}, "
        f"were they independent; for {_TARGET.value:.0%} it takes {needed}."
    )
