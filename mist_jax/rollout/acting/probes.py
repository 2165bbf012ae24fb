"""Queries that are asked and not executed, for detectors that compare answers.

`overlap` asks half a chunk after each query what the policy would do from there; `variance` asks
each query again with slightly perturbed pictures. The acting answers come from their own calls, of
the same program and batch as without probes, so that not a bit of them changes.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.record.episode import Episode
from mist_jax.rollout.acting.policy_actor import PolicyActor, PolicyAnswer, query_seed
from mist_jax.rollout.episode_spec import Turn, check_probes

COPIES = 8  # perturbed copies of one query
SHIFT = 3  # pixels, at most, along each side of a picture
NOISE = 4.0  # grey levels of 255: standard deviation of the noise on every pixel


@dataclass(frozen=True)
class ProbedAnswer:
    """The acting answer, and what the probes said beside it."""

    acting: PolicyAnswer
    overlap: np.ndarray | None = None  # float32 [C, A], NaN at an episode's first query
    spread: np.ndarray | None = None  # float32 [A]

    @property
    def chunk(self) -> np.ndarray:
        """Of the acting answer."""
        return self.acting.chunk

    @property
    def error(self) -> str:
        """Of the acting answer."""
        return self.acting.error


class ProbingActor:
    """An `Actor` that acts as `actor` does, and asks the policy the probes' questions as well.

    What a probe says is a function of its turn, of the episode's key and of the batch size alone.
    The policy is asked as it is: neither steered nor read for risk.
    """

    def __init__(self, actor: PolicyActor, policy: Policy, probes: Iterable[str]):
        """Asks `policy`, the one that `actor` asks.

        Raises:
            UserError: there is no such probe.
        """
        self._actor, self._policy = actor, policy
        self._probes = check_probes(probes)
        self.batch_size = actor.batch_size

    def answer(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[ProbedAnswer]:
        """Answers to `turns`, at most `batch_size`; `queries` are their indices in the episodes."""
        answers = [ProbedAnswer(answer) for answer in self._actor.answer(turns, queries)]
        if "overlap" in self._probes:
            overlaps = self._overlaps(turns)
            answers = [
                dataclasses.replace(answer, overlap=overlap)
                for answer, overlap in zip(answers, overlaps, strict=True)
            ]
        if "variance" in self._probes:
            answers = [
                dataclasses.replace(answer, spread=spread)
                for answer, spread in zip(answers, self._spreads(turns, queries), strict=True)
            ]
        return answers

    def finish(self, episode: Episode, answers: Sequence[ProbedAnswer]) -> Episode:
        """The episode with its queries and what the probes said; a crashed one keeps none."""
        whole = self._actor.finish(episode, [answer.acting for answer in answers])
        if whole.outcome == "crashed":
            return whole
        overlaps = [answer.overlap for answer in answers if answer.overlap is not None]
        spreads = [answer.spread for answer in answers if answer.spread is not None]
        queries = dataclasses.replace(
            whole.queries,
            overlap=np.stack(overlaps) if overlaps else None,
            spread=np.stack(spreads) if spreads else None,
        )
        return dataclasses.replace(whole, queries=queries)

    def _overlaps(self, turns: Sequence[Turn]) -> list[np.ndarray]:
        shape = self._policy.model.chunk, self._policy.model.action_dim
        said = [np.full(shape, np.nan, np.float32) for _ in turns]
        places = [place for place, turn in enumerate(turns) if turn.between is not None]
        between = [turn.between for turn in turns if turn.between is not None]
        for place, chunk in zip(places, self._ask(between), strict=True):
            said[place] = chunk
        return said

    def _spreads(self, turns: Sequence[Turn], queries: Sequence[int]) -> list[np.ndarray]:
        copies: list[PolicyInputs] = []
        for turn, query in zip(turns, queries, strict=True):
            assert turn.inputs is not None
            rng = np.random.default_rng(query_seed(turn.key, query, "variance"))
            copies += [perturbed(turn.inputs, rng) for _ in range(COPIES)]
        first = np.stack([chunk[0] for chunk in self._ask(copies)]).astype(np.float64)
        spread = first.reshape(len(turns), COPIES, -1).std(axis=1, ddof=1)
        return list(spread.astype(np.float32))

    def _ask(self, inputs: Sequence[PolicyInputs]) -> list[np.ndarray]:
        """Float32 [C, A] of each, un-normalised; prompts of one length share batches of one size.

        A row does not depend on the others of its batch.
        """
        said: dict[int, np.ndarray] = {}
        lengths = np.array([len(one.token_ids) for one in inputs], int)
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            for start in range(0, len(places), self.batch_size):
                here = places[start : start + self.batch_size].tolist()
                some = [inputs[place] for place in here]
                batch = some + some[:1] * (self.batch_size - len(some))
                raw = self._policy.predict_inputs(batch, seeds=[0] * len(batch)).raw_actions
                said |= {place: np.array(raw[row], np.float32) for row, place in enumerate(here)}
        return [said[place] for place in range(len(inputs))]


def perturbed(inputs: PolicyInputs, rng: np.random.Generator) -> PolicyInputs:
    """The same query with each picture moved by up to `SHIFT` pixels, and with noise on it.

    What a shift uncovers repeats the picture's edge.
    """
    images = np.stack([_perturbed(image, rng) for image in inputs.images])
    return dataclasses.replace(inputs, images=images)


def _perturbed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width, _ = image.shape
    down, right = rng.integers(-SHIFT, SHIFT + 1, size=2)
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    noisy = image[rows][:, columns] + rng.normal(0.0, NOISE, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
