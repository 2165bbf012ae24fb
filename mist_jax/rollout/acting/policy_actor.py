"""A policy as an actor: many workers' questions as one batch of one compiled forward."""

import dataclasses
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.steering import Steering
from mist_jax.policy.policy import Policy, Prediction
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.record.queries import Queries
from mist_jax.rollout.acting.arm import Arm, Controller, Said, Unsteered
from mist_jax.rollout.acting.batch_numbers import (
    Row,
    conceptor_of,
    idle_row,
    push_of,
    row_of,
    steering_of,
)
from mist_jax.rollout.acting.kept_site import kept_site
from mist_jax.rollout.acting.release import AlarmsSoFar
from mist_jax.rollout.episode_spec import Turn


def default_batch_size() -> int:
    """Queries per compiled call where none is asked for: never a matter of how many workers ask.

    1 on a CPU, where a batch takes as long as its rows one by one; 8 on an accelerator, as many as
    simulators are started by default.
    """
    return 1 if jax.default_backend() == "cpu" else 8


@dataclass(frozen=True)
class PolicyAnswer:
    """What one query gave: `chunk` is for the environment, the rest for the record."""

    step: int
    chunk: np.ndarray  # float32 [C, A], in [-1, 1]
    raw_actions: np.ndarray  # float32 [C, A], before the gripper post-processing and the arm's edit
    edited: bool  # the arm changed the chunk
    activations: Mapping[str, np.ndarray]  # site -> float32 [L, D]
    risk: np.ndarray  # float32 [M], of signed motions
    gate: np.ndarray  # float32 [L]
    wanted: np.ndarray  # float32 [A], change of the action that a push wanted, acting or told only
    realised: np.ndarray  # float32 [A], executed minus unsteered, mean over the chunk
    latency: float  # s, of the batch
    error: str = ""  # why the answer cannot be executed


class _Past(NamedTuple):
    """Of a running episode: the next query's index, the memory for it, the alarms before it."""

    due: int
    memory: Any
    alarms: AlarmsSoFar


Value = TypeVar("Value")


class PolicyActor:
    """An `Actor`: asks the policy about up to `batch_size` turns, always in a batch of that size.

    A row does not depend on the others in a program of one shape, so prompts that are padded to
    another length have a batch of their own: an answer is a function of the turn, of the episode's
    key, of the query's index within the episode, of what the risk head remembers of the episode's
    queries before, and of `batch_size`, whose programs differ in the last digits. What is
    remembered is kept here from an episode's first query (index 0, also of one that begins anew)
    until it has finished. An answer that is not finite says so and is no chunk to execute.

    Where a push acted on some row, the same program is asked again with every row left alone: what
    was realised is the executed chunk minus that one. This is not in the answers' latency.
    """

    def __init__(
        self,
        policy: Policy,
        batch_size: int,
        *,
        sites: tuple[str, ...] = (),
        layers: Sequence[int] | None = None,
        controller: Controller | None = None,
        arms: Mapping[str, Arm] | None = None,
    ):
        """Keeps the activations of `sites`: of those that can be steered at `layers` alone
        (default all), of others at each of theirs. The controller's pushes are for `batch_size`.

        Raises:
            UserError: the model has no such layer or site, or the controller is for another model
                or batch.
        """
        self.sites = {site: kept_site(policy.sites, site, layers) for site in sites}
        self.batch_size = batch_size
        self._policy, self._controller = policy, controller
        self._padded: dict[int, tuple[tuple[int, ...], ...]] = {}
        self._compiled: set[tuple[str, tuple[tuple[int, ...], ...]]] = set()
        self._arms: Mapping[str, Arm] = arms or {"none": Unsteered()}
        self._risk_head = None if controller is None else controller.risk_head
        self._nothing = None  # is remembered before an episode's first query
        if self._risk_head is not None:
            first = jax.device_get(self._risk_head.no_memory(1))
            self._nothing = jax.tree.map(lambda leaf: leaf[0], first)
        self._pasts: dict[EpisodeKey, _Past] = {}  # of running episodes
        self._steering: Steering | None = None
        if controller is not None:
            self._steering = Steering.of(
                controller.vectors,
                np.zeros((batch_size, len(controller.vectors))),
                gates=controller.gates,
                threshold=np.inf,
                tokens=controller.tokens,
                site=controller.site,
            )
            # Refuses here what would not fit at the first query.
            idle = self._operators([idle_row()] * batch_size, None)
            policy.intervention(batch_size, idle, controller.risk_head)

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[PolicyAnswer]:
        """Answers to `turns`, at most `batch_size`; `queries` are their indices in the episodes.

        Where this raises, what is remembered of every episode is as it was.
        """
        assert len(turns) <= self.batch_size
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for place, turn in enumerate(turns):
            groups.setdefault(self._shapes(turn), []).append(place)
        answers: dict[int, PolicyAnswer] = {}
        remembered: dict[EpisodeKey, _Past] = {}
        for shapes, places in groups.items():
            several = [turns[place] for place in places], [queries[place] for place in places]
            answered, after = self._answer(*several, shapes)
            answers |= zip(places, answered, strict=True)
            remembered |= after
        self._pasts |= remembered
        return [answers[place] for place in range(len(turns))]

    def _answer(
        self, turns: Sequence[Turn], queries: Sequence[int], shapes: tuple[tuple[int, ...], ...]
    ) -> tuple[list[PolicyAnswer], dict[EpisodeKey, _Past]]:
        """Answers to turns whose inputs are padded to the same shapes, by one call, and what is
        to be remembered of them."""
        asked = list(zip(turns, queries, strict=True))
        inputs = [turn.inputs for turn in turns if turn.inputs is not None]
        assert len(inputs) == len(turns)
        empty = self.batch_size - len(turns)
        inputs += inputs[:1] * empty
        seeds = [query_seed(turn.key, query) for turn, query in asked]
        pasts = [self._past(turn.key, query) for turn, query in asked]
        rows = [
            self._row(turn, query, past.alarms)
            for (turn, query), past in zip(asked, pasts, strict=True)
        ]
        rows += [idle_row()] * empty
        jacobian, exactly = self._jacobian(inputs, rows, shapes)
        memory = self._batch_memory(pasts)

        def predict(rows: Sequence[Row]) -> Prediction:
            return self._policy.predict_inputs(
                inputs,
                sites=tuple(self.sites),
                steering=self._operators(rows, jacobian),
                risk_head=self._risk_head,
                memory=memory,
                seeds=seeds + [0] * empty,
            )

        prediction, seconds = self._timed(("forward", shapes), lambda: predict(rows))
        plain = prediction.actions
        if prediction.gate[: len(turns)].any():
            plain = predict([idle_row()] * self.batch_size).actions
        answers, after = [], {}
        for row, (turn, query) in enumerate(asked):
            chunk, risk = np.array(prediction.actions[row]), np.array(prediction.signed_risk[row])
            wanted = np.array(prediction.wanted[row], np.float32)
            before = pasts[row].alarms
            alarms = before.after(risk, rows[row].threshold)
            if prediction.memory is not None:
                kept = jax.tree.map(lambda leaf, row=row: np.array(leaf[row]), prediction.memory)
                after[turn.key] = _Past(query + 1, kept, alarms)
            raw = np.array(prediction.raw_actions[row])
            activations = {
                site: np.array(prediction.activations[site][row][list(kept.layers)])
                for site, kept in self.sites.items()
            }
            error, edited = _not_finite(turn, raw_actions=raw, risk=risk, **activations), chunk
            if not error:
                arm, rng = self._arm(turn.key), np.random.default_rng(seeds[row])
                said = Said(risk, wanted, alarms.row, arm.release.lets_go(before))
                edited = arm.edit(chunk, said, turn, rng).astype(np.float32)
                error = _not_finite(turn, **{f"actions as arm {turn.key.arm!r} edits them": edited})
            pushed = bool(prediction.gate[row].any())
            unsteered = plain[row] if pushed else chunk
            slow = self._needs_jacobian(rows[row])
            answers.append(
                PolicyAnswer(
                    step=turn.step,
                    chunk=edited,
                    raw_actions=raw,
                    edited=not np.array_equal(edited, chunk),
                    activations=activations,
                    risk=risk,
                    gate=np.array(prediction.gate[row]),
                    wanted=wanted,
                    realised=(edited - unsteered).mean(axis=0, dtype=np.float64).astype(np.float32),
                    latency=seconds + exactly * slow,
                    error=error,
                )
            )
        return answers, after

    def _shapes(self, turn: Turn) -> tuple[tuple[int, ...], ...]:
        """Of a turn's padded inputs: a function of its prompt's length."""
        assert turn.inputs is not None
        length = len(turn.inputs.token_ids)
        if length not in self._padded:
            alone = self._policy.model.collate([turn.inputs], [0])
            self._padded[length] = tuple(leaf.shape for leaf in jax.tree.leaves(alone))
        return self._padded[length]

    def finish(self, episode: Episode, answers: Sequence[PolicyAnswer]) -> Episode:
        """The episode with its queries; a crashed one keeps none."""
        self.forget(episode.key)
        if episode.outcome == "crashed":
            return episode
        queries = dataclasses.replace(self._queries(answers), expert=episode.queries.expert)
        return dataclasses.replace(episode, queries=queries)

    def forget(self, key: EpisodeKey) -> None:
        """Keeps nothing of an episode that ends without `finish`."""
        self._pasts.pop(key, None)

    def _queries(self, answers: Sequence[PolicyAnswer]) -> Queries:
        """The record of one episode's answers (at least one), in order."""

        def stacked(name: str) -> np.ndarray:
            return np.stack([getattr(answer, name) for answer in answers]).astype(np.float32)

        return Queries(
            step=np.array([answer.step for answer in answers], np.int32),
            raw_actions=stacked("raw_actions"),
            activations={
                site: np.stack([answer.activations[site] for answer in answers])
                for site in self.sites
            },
            layers={site: kept.layers for site, kept in self.sites.items()},
            risk=stacked("risk") if self._risk_head else None,
            gate=stacked("gate") if self._controller else None,
            wanted=stacked("wanted") if self._controller else None,
            realised=stacked("realised") if self._controller else None,
            edited=np.array([answer.edited for answer in answers], np.bool_),
            latency=stacked("latency"),
        )

    def _arm(self, key: EpisodeKey) -> Arm:
        if key.arm not in self._arms:
            raise UserError(f"there is no arm {key.arm!r}: valid ones are {', '.join(self._arms)}")
        return self._arms[key.arm]

    def _row(self, turn: Turn, query: int, so_far: AlarmsSoFar) -> Row:
        """What the turn's arm does to it; without a controller it can edit actions alone."""
        arm = self._arm(turn.key)
        if self._controller is None:
            return idle_row()
        table, pushes = self._controller.row(turn), self._controller.pushes
        return row_of(arm, turn, query, table, pushes, so_far)

    def _operators(
        self, rows: Sequence[Row], jacobian: np.ndarray | None
    ) -> tuple[Operator, ...] | None:
        """The controller's operators with the numbers of these rows."""
        if self._controller is None or self._steering is None:
            return None
        exact, soft = self._controller.exact, self._controller.conceptor
        return (
            steering_of(self._steering, rows),
            *(() if soft is None else (conceptor_of(soft, rows),)),
            *(
                push_of(push, name, rows, jacobian if name in exact else None)
                for name, push in self._controller.pushes.items()
            ),
        )

    def _jacobian(
        self, inputs: list[PolicyInputs], rows: Sequence[Row], shapes: tuple
    ) -> tuple[np.ndarray | None, float]:
        """The exact Jacobians [B, A, S, D] where a row needs its own, and the seconds they took."""
        known = None if self._controller is None else self._controller.jacobian
        if known is None or not any(map(self._needs_jacobian, rows)):
            return None, 0.0
        return self._timed(("jacobian", shapes), lambda: known(self._policy, inputs))

    def _needs_jacobian(self, row: Row) -> bool:
        return self._controller is not None and not self._controller.exact.isdisjoint(row.pushes)

    def _timed(self, what: tuple, call: Callable[[], Value]) -> tuple[Value, float]:
        """What `call` gives, and its seconds; compiling is not what a query takes."""
        if what not in self._compiled:
            call()
            self._compiled.add(what)
        began = time.perf_counter()
        return call(), time.perf_counter() - began

    def _past(self, key: EpisodeKey, query: int) -> _Past:
        """What is known of the episode's queries before."""
        first = _Past(0, self._nothing, AlarmsSoFar.none())
        if self._risk_head is None:
            return first
        past = self._pasts.get(key, first) if query else first
        if past.due != query:
            raise ValueError(f"{key}: query {query} was asked where {past.due} is the next")
        return past

    def _batch_memory(self, pasts: Sequence[_Past]) -> Any:
        """What the risk head remembers of each turn's episode; rows of no turn know nothing."""
        if self._risk_head is None:
            return None
        rows = [past.memory for past in pasts]
        rows += [self._nothing] * (self.batch_size - len(rows))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def query_seed(key: EpisodeKey, query: int, purpose: str = "") -> int:
    """Of what is drawn for a query: one for all arms of a pair, which differ by what they do."""
    drawn_for = f"{dataclasses.replace(key, arm=UNSTEERED)}/{query}" + f"/{purpose}" * bool(purpose)
    return zlib.crc32(drawn_for.encode())


def _not_finite(turn: Turn, **arrays: np.ndarray) -> str:
    """Which of the arrays hold NaN or infinity, in one line; empty where none does."""
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if not bad:
        return ""
    return f"the policy's answer at step {turn.step} is not finite: {', '.join(bad)}"
