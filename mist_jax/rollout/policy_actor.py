"""A policy as an actor: many workers' questions as one batch of one compiled forward."""

import dataclasses
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.steering import Steering
from mist_jax.policy.policy import Policy, Prediction
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.queries import Queries
from mist_jax.rollout.arm import Arm, Controller, Unsteered
from mist_jax.rollout.episode_spec import Turn
from mist_jax.rollout.kept_site import kept_site


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
    latency: float  # s, of the batch
    error: str = ""  # why the answer cannot be executed


class PolicyActor:
    """An `Actor`: asks the policy about up to `batch_size` turns, always in a batch of that size.

    A row does not depend on the others in a program of one shape, so prompts that are padded to
    another length have a batch of their own: an answer is a function of the turn, of the episode's
    key, of the query's index within the episode, of what the risk head remembers of the episode's
    queries before, and of `batch_size`, whose programs differ in the last digits. What is
    remembered is kept here from an episode's first query (index 0, also of one that begins anew)
    until it has finished. An answer that is not finite says so and is no chunk to execute.
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
        (default all), of others at each of theirs.

        Raises:
            UserError: the model has no such layer or site, or the controller is for another model.
        """
        self.sites = {site: kept_site(policy.sites, site, layers) for site in sites}
        self.batch_size, self.latency = batch_size, 0.0
        self._policy = policy
        self._padded: dict[int, tuple[tuple[int, ...], ...]] = {}
        self._compiled: set[tuple[tuple[int, ...], ...]] = set()
        self._arms: Mapping[str, Arm] = arms or {"none": Unsteered()}
        self._risk_head = None if controller is None else controller.risk_head
        self._nothing = None  # is remembered before an episode's first query
        if self._risk_head is not None:
            first = jax.device_get(self._risk_head.no_memory(1))
            self._nothing = jax.tree.map(lambda leaf: leaf[0], first)
        # Of running episodes: the next query's index, and the memory for it (of one example).
        self._memories: dict[EpisodeKey, tuple[int, Any]] = {}
        self._steering = None
        if controller is not None:
            self._steering = Steering.of(
                controller.vectors,
                np.zeros((batch_size, len(controller.vectors))),
                gates=controller.gates,
                tokens=controller.tokens,
                site=controller.site,
            )
            # Refuses here what would not fit at the first query.
            policy.intervention(batch_size, self._steering, controller.risk_head)

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[PolicyAnswer]:
        """Answers to `turns`, at most `batch_size`; `queries` are their indices in the episodes."""
        assert len(turns) <= self.batch_size
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for place, turn in enumerate(turns):
            groups.setdefault(self._shapes(turn), []).append(place)
        answers: dict[int, PolicyAnswer] = {}
        spent = 0.0
        for shapes, places in groups.items():
            several = [turns[place] for place in places], [queries[place] for place in places]
            answers |= zip(places, self._answer(*several, shapes), strict=True)
            spent += self.latency
        self.latency = spent
        return [answers[place] for place in range(len(turns))]

    def _answer(
        self, turns: Sequence[Turn], queries: Sequence[int], shapes: tuple[tuple[int, ...], ...]
    ) -> list[PolicyAnswer]:
        """Answers to turns whose inputs are padded to the same shapes, by one call."""
        inputs = [turn.inputs for turn in turns if turn.inputs is not None]
        assert len(inputs) == len(turns)
        inputs += inputs[:1] * (self.batch_size - len(inputs))
        seeds = [_seed(turn.key, query) for turn, query in zip(turns, queries, strict=True)]
        steering = self._batch_steering(turns, queries)
        memory = self._batch_memory(turns, queries)
        seeds_of_rows = seeds + [0] * (self.batch_size - len(seeds))

        def predict() -> Prediction:
            return self._policy.predict_inputs(
                inputs,
                sites=tuple(self.sites),
                steering=steering,
                risk_head=self._risk_head,
                memory=memory,
                seeds=seeds_of_rows,
            )

        if shapes not in self._compiled:
            predict()  # compiles, which is not what a query takes
            self._compiled.add(shapes)
        began = time.perf_counter()
        prediction = predict()
        self.latency = time.perf_counter() - began
        answers = []
        for row, (turn, query, seed) in enumerate(zip(turns, queries, seeds, strict=True)):
            chunk, risk = np.array(prediction.actions[row]), np.array(prediction.signed_risk[row])
            if prediction.memory is not None:
                kept = jax.tree.map(lambda leaf, row=row: np.array(leaf[row]), prediction.memory)
                self._memories[turn.key] = query + 1, kept
            raw = np.array(prediction.raw_actions[row])
            activations = {
                site: np.array(prediction.activations[site][row][list(kept.layers)])
                for site, kept in self.sites.items()
            }
            error, edited = _not_finite(turn, raw_actions=raw, risk=risk, **activations), chunk
            if not error:
                rng = np.random.default_rng(seed)
                edited = self._arm(turn.key).edit(chunk, risk, turn, rng).astype(np.float32)
                error = _not_finite(turn, **{f"actions as arm {turn.key.arm!r} edits them": edited})
            answers.append(
                PolicyAnswer(
                    step=turn.step,
                    chunk=edited,
                    raw_actions=raw,
                    edited=not np.array_equal(edited, chunk),
                    activations=activations,
                    risk=risk,
                    gate=np.array(prediction.gate[row]),
                    latency=self.latency,
                    error=error,
                )
            )
        return answers

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
        self._memories.pop(episode.key, None)
        if episode.outcome == "crashed":
            return episode
        queries = dataclasses.replace(self._queries(answers), expert=episode.queries.expert)
        return dataclasses.replace(episode, queries=queries)

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
            gate=stacked("gate") if self._risk_head else None,
            edited=np.array([answer.edited for answer in answers], np.bool_),
            latency=stacked("latency"),
        )

    def _arm(self, key: EpisodeKey) -> Arm:
        if key.arm not in self._arms:
            raise UserError(f"there is no arm {key.arm!r}: valid ones are {', '.join(self._arms)}")
        return self._arms[key.arm]

    def _batch_memory(self, turns: Sequence[Turn], queries: Sequence[int]) -> Any:
        """What the risk head remembers of each turn's episode; rows of no turn know nothing."""
        if self._risk_head is None:
            return None
        rows = []
        for turn, query in zip(turns, queries, strict=True):
            due, kept = self._memories.get(turn.key, (0, None)) if query else (0, self._nothing)
            if due != query:
                raise ValueError(f"{turn.key}: query {query} was asked where {due} is the next")
            rows.append(kept)
        rows += [self._nothing] * (self.batch_size - len(rows))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    def _batch_steering(self, turns: Sequence[Turn], queries: Sequence[int]) -> Steering | None:
        if self._steering is None:
            return None
        gate = self._steering.gate
        assert isinstance(gate, ThresholdGate)
        directions = self._steering.vectors.shape[0]
        coefficient = np.zeros((self.batch_size, directions), np.float32)
        threshold = np.full((self.batch_size, len(SIGNED_MOTIONS)), np.inf, np.float32)
        shrink = np.zeros(self.batch_size, np.float32)
        for row, (turn, query) in enumerate(zip(turns, queries, strict=True)):
            arm = self._arm(turn.key)
            coefficient[row] = arm.coefficient(turn, query)
            threshold[row], shrink[row] = arm.threshold, arm.shrink
        return dataclasses.replace(
            self._steering,
            coefficient=jnp.asarray(coefficient),
            gate=dataclasses.replace(gate, threshold=jnp.asarray(threshold)),
            shrink=jnp.asarray(shrink),
        )


def _seed(key: EpisodeKey, query: int) -> int:
    return zlib.crc32(f"{key}/{query}".encode())


def _not_finite(turn: Turn, **arrays: np.ndarray) -> str:
    """Which of the arrays hold NaN or infinity, in one line; empty where none does."""
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if not bad:
        return ""
    return f"the policy's answer at step {turn.step} is not finite: {', '.join(bad)}"
