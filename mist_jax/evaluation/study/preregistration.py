"""What a study will run and show, written down before its scenes are opened."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_jax.disk import PARTIAL
from mist_jax.errors import UserError
from mist_jax.evaluation.study.endpoint import Endpoint
from mist_jax.fields import check_fields
from mist_jax.ids import parse_ids
from mist_jax.record.episode import EpisodeKey
from mist_jax.risk.study.checkpoint import from_optional
from mist_jax.simulator.libero.sampled_scenes import SAMPLED

if TYPE_CHECKING:
    from mist_jax.evaluation.run_setup import RunSetup

PREREGISTRATION_FILE = "preregistration.json"
# Of a run's setup: what says how it was called, what follows from the digests of its parts, and the
# earlier runs that single exploratory arms draw from.
_NOT_FIXED = (
    *("commands", "code_versions", "policy_scenes", "trained_on", "preregistration"),
    *("replay_from", "oracle_from"),
)


@dataclass(frozen=True)
class Preregistration:
    """One study, before its first episode.

    Attributes:
        suite: whose scenes they are.
        scenes: initial states of each task, by task id, such as {"0": "7000-7039"}: each is run
            once with every arm.
        seed: of every episode.
        arms: all that may be run.
        endpoints: what it is to show, in this order.
        level: of every test; each endpoint has all of it, if those before it are shown.
        setup: everything else that the episodes depend on and that judges them, as `RunSetup`
            names it: digests of policy, risk head and bank, coefficient, thresholds and so on.
        planned: what it was planned with: the tuning evaluation, rates, power.
        written: when, UTC; `code_version` and `command` of what wrote it.
    """

    suite: str
    scenes: Mapping[str, str]
    seed: int
    arms: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    level: float
    setup: Mapping[str, Any]
    planned: Mapping[str, Any]
    written: str
    code_version: str
    command: str

    @property
    def initial_states(self) -> dict[int, tuple[int, ...]]:
        """Of each task, ascending, by task id."""
        return {
            int(task_id): parse_ids(states, SAMPLED.stop, "initial state")
            for task_id, states in self.scenes.items()
        }

    @property
    def n_episodes(self) -> int:
        """Per task and arm."""
        return max(len(states) for states in self.initial_states.values())

    @property
    def threshold(self) -> np.ndarray:
        """[M], the risk above which a signed motion alarms; inf where none ever does."""
        return from_optional(tuple(self.setup["threshold"]))

    def keys(self, arm: str) -> Iterator[EpisodeKey]:
        """Every episode of an arm."""
        for task_id, states in self.initial_states.items():
            for state in states:
                yield EpisodeKey(self.suite, task_id, state, self.seed, arm)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, with the `digest` of all others."""
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        return {**values, "digest": _digest(values)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Preregistration":
        """The inverse; KeyError, TypeError, ValueError or UserError where it is none."""
        values = dict(stored)
        if values.pop("digest") != _digest(values):
            raise ValueError("it was changed after it was written")
        endpoints = tuple(Endpoint(**one) for one in values["endpoints"])
        made = Preregistration(**{**values, "arms": tuple(values["arms"]), "endpoints": endpoints})
        check_fields(made)
        if len({len(states) for states in made.initial_states.values()}) != 1:
            raise ValueError("every task has as many scenes")
        return made

    @classmethod
    def read(cls, path: Path) -> "Preregistration":
        """The one in a file.

        Raises:
            UserError: there is none, or it is not as it was written.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise UserError(
                f"no preregistration at {path} ({error.strerror}): write it with "
                "experiments.plan_study"
            ) from None
        except (ValueError, LookupError, TypeError, AttributeError, UserError) as error:
            raise UserError(
                f"{path} is not as plan_study writes it ({error}): a study is run as it was "
                "registered, or registered anew under another name"
            ) from None

    def write(self, path: Path) -> None:
        """Writes the file in one step.

        Raises:
            UserError: there is one already.
        """
        text = json.dumps(self.as_json(), indent=1) + "\n"
        beside = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, path)  # unlike a rename, it replaces nothing
        except FileExistsError:
            raise UserError(
                f"{path} is there already, and a preregistration is never written over: name "
                "another --output_dir"
            ) from None
        finally:
            beside.unlink(missing_ok=True)

    def check(self, setup: "RunSetup", initial_states: Mapping[int, tuple[int, ...]]) -> None:
        """Makes sure that a run is the one that was registered.

        Raises:
            UserError: its scenes or anything of its setup differ.
        """
        if dict(initial_states) != self.initial_states:
            raise UserError("the preregistration names other scenes: leave --initial_states out")
        now = fixed_setup(setup)
        for name in dict.fromkeys((*self.setup, *now)):
            if now.get(name) != self.setup.get(name):
                raise UserError(
                    f"the preregistration has {name} = {_shown(self.setup.get(name))}, this run "
                    f"{_shown(now.get(name))}: a study is run as it was registered"
                )


def fixed_setup(setup: "RunSetup") -> dict[str, Any]:
    """What of a run's setup a preregistration fixes, as JSON values."""
    values = dataclasses.asdict(setup)
    return json.loads(json.dumps({n: v for n, v in values.items() if n not in _NOT_FIXED}))


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
