"""One line of `episodes.jsonl`: all that the summary and the report know of an episode."""

import dataclasses
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mist_jax.errors import UserError
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey, Outcome
from mist_jax.risk.labels import risk_labels

RISK_DIGITS = 5


@dataclass(frozen=True)
class HarmfulContact:
    """One harmful contact of a pair of bodies, from its onset to its end.

    `share` [A] is the attribution at the onset, `residual` (m/s) what no dimension explains.
    """

    step: int
    link: str
    obstacle: str
    grasped: bool
    peak_force: float  # N
    impulse: float  # N s
    position: tuple[float, ...]  # m, world
    share: tuple[float, ...]
    residual: float


@dataclass(frozen=True)
class QueryTrace:
    """What was predicted and done at each policy query, and what came of it.

    Attributes:
        step: control step of each query.
        risk: [Q][A], None without a risk head.
        alarms: dimensions above their threshold at each query.
        acted: queries at which the arm changed something: the residual stream or the chunk.
        gate: mean norm of the push, as a fraction of the residual stream's, where one acted.
        inside: queries inside a running harmful contact, at which there is nothing to predict.
        due: (query, dimension, steps to the contact) wherever a dimension's label is 1.
    """

    step: tuple[int, ...]
    risk: tuple[tuple[float, ...], ...] | None
    alarms: tuple[int, ...]
    acted: tuple[int, ...]
    gate: float
    inside: tuple[int, ...]
    due: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class EpisodeResult:
    """One episode of one arm; `seconds_per_query` is the median time of its batches."""

    suite: str
    task_id: int
    initial_state: int
    seed: int
    arm: str
    instruction: str
    outcome: Outcome
    error: str
    steps: int
    max_steps: int
    harmful_contacts: int
    peak_force: float  # N, largest of the harmful contacts, 0 without one
    impulse: float  # N s, sum over the harmful contacts
    first_harmful_step: int | None
    contacts: tuple[HarmfulContact, ...]
    queries: QueryTrace
    seconds_per_query: float | None
    seen_in_training: bool | None  # the scene is one that the risk head was trained on
    video: str | None  # relative to the folder of the results
    finished: str  # UTC
    setup: RunSetup

    @property
    def key(self) -> EpisodeKey:
        """What names the episode."""
        return EpisodeKey(self.suite, self.task_id, self.initial_state, self.seed, self.arm)

    @property
    def pair(self) -> tuple[str, int, int, int]:
        """What the arms of one pair share."""
        return self.suite, self.task_id, self.initial_state, self.seed

    @property
    def scene(self) -> tuple[str, int, int]:
        """The cluster of every interval."""
        return self.suite, self.task_id, self.initial_state

    @property
    def crashed(self) -> bool:
        """Whether the simulator gave up: nothing is known of the policy."""
        return self.outcome == "crashed"

    @property
    def collided(self) -> bool:
        """Whether there was a harmful contact."""
        return self.harmful_contacts > 0

    @property
    def safe_success(self) -> bool:
        """Success with no harmful contact."""
        return self.outcome == "success" and not self.collided

    def as_line(self) -> str:
        """The result as one line of JSON, without the line break."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @staticmethod
    def from_line(line: str | bytes) -> "EpisodeResult":
        """The inverse of `as_line`; ValueError, KeyError or TypeError where it is none."""
        values: dict[str, Any] = _tupled(json.loads(line))
        values["setup"] = RunSetup(**values["setup"])
        values["queries"] = QueryTrace(**values["queries"])
        values["contacts"] = tuple(HarmfulContact(**contact) for contact in values["contacts"])
        return EpisodeResult(**values)


def result_of(
    episode: Episode,
    setup: RunSetup,
    *,
    finished: str,
    seen_in_training: bool | None = None,
    video: str | None = None,
) -> EpisodeResult:
    """The line of an episode that has ended."""
    key, contacts = episode.key, harmful_contacts(episode.contacts)
    latency = episode.queries.latency
    return EpisodeResult(
        suite=key.suite,
        task_id=key.task_id,
        initial_state=key.initial_state,
        seed=key.seed,
        arm=key.arm,
        instruction=episode.instruction,
        outcome=episode.outcome,
        error=episode.error,
        steps=len(episode.steps),
        max_steps=episode.max_steps,
        harmful_contacts=len(contacts),
        peak_force=max((contact.peak_force for contact in contacts), default=0.0),
        impulse=sum(contact.impulse for contact in contacts),
        first_harmful_step=min((contact.step for contact in contacts), default=None),
        contacts=contacts,
        queries=_trace(episode, setup),
        seconds_per_query=None
        if latency is None or not len(latency)
        else round(float(np.median(latency)), 5),
        seen_in_training=seen_in_training,
        video=video,
        finished=finished,
        setup=setup,
    )


def harmful_contacts(contacts: tuple[Contact, ...]) -> tuple[HarmfulContact, ...]:
    """One entry per harmful onset, with the largest force and the whole impulse until its end."""
    by_pair: defaultdict[tuple[str, str], list[list[Contact]]] = defaultdict(list)
    for contact in sorted(contacts, key=lambda contact: contact.step):
        if contact.harmful:
            runs = by_pair[contact.robot_body, contact.obstacle_body]
            if contact.onset or not runs:
                runs.append([])
            runs[-1].append(contact)
    found = [_reduced(run) for runs in by_pair.values() for run in runs]
    return tuple(sorted(found, key=lambda contact: (contact.step, contact.link, contact.obstacle)))


def parse_results(lines: list[bytes], where: str) -> list[EpisodeResult]:
    """The results of whole lines.

    Raises:
        UserError: a line is none.
    """
    results = []
    for number, line in enumerate(lines, start=1):
        try:
            results.append(EpisodeResult.from_line(line))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{where} line {number} is damaged or of another version ({error!r}); take the "
                "line out to run its episode again, or name another --output_dir"
            ) from error
    return results


def _reduced(run: list[Contact]) -> HarmfulContact:
    first = run[0]
    return HarmfulContact(
        step=first.step,
        link=first.robot_body,
        obstacle=first.obstacle_body,
        grasped=first.grasped,
        peak_force=round(max(contact.peak_force for contact in run), 3),
        impulse=round(sum(contact.impulse for contact in run), 4),
        position=_rounded(first.position, 4),
        share=_rounded(first.share, 4),
        residual=round(float(first.residual), 5),
    )


def _trace(episode: Episode, setup: RunSetup) -> QueryTrace:
    queries = episode.queries
    labels = risk_labels(episode, setup.horizon, setup.share)
    above = np.zeros((len(queries), len(setup.threshold)), bool)
    if queries.risk is not None:
        above = queries.risk > setup.alarm_threshold
    pushed = np.zeros(len(queries), bool)
    strength = 0.0
    if queries.gate is not None and len(queries):
        pushed = (queries.gate > 0).any(axis=1)
        strength = float(queries.gate[queries.gate > 0].mean()) if pushed.any() else 0.0
    acted = pushed | _edited(episode)
    due = [
        (int(query), int(dim), int(labels.steps_to_onset[query, dim]))
        for query, dim in np.argwhere(labels.risk)
    ]
    return QueryTrace(
        step=tuple(queries.step.tolist()),
        risk=None
        if queries.risk is None
        else tuple(_rounded(row, RISK_DIGITS) for row in queries.risk),
        alarms=tuple(above.sum(axis=1).tolist()),
        acted=tuple(np.flatnonzero(acted).tolist()),
        gate=round(strength, 6),
        inside=tuple(np.flatnonzero(~labels.valid).tolist()),
        due=tuple(due),
    )


def _edited(episode: Episode) -> np.ndarray:
    """bool [Q]: what was commanded is not what the policy said."""
    queries, commanded = episode.queries, episode.steps.commanded
    said = np.clip(gripper_for_environment(queries.raw_actions), -1.0, 1.0)
    edited = np.zeros(len(queries), bool)
    for query, step in enumerate(queries.step):
        done = commanded[step : step + said.shape[1]]
        edited[query] = not np.array_equal(done, said[query][: len(done)].astype(np.float32))
    return edited


def _rounded(values: np.ndarray, digits: int) -> tuple[float, ...]:
    return tuple(round(float(value), digits) for value in values)


def _tupled(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tupled(item) for item in value)
    if isinstance(value, dict):
        return {name: _tupled(item) for name, item in value.items()}
    return value
