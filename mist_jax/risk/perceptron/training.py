"""Fits many hazard heads at once: layers, folds and trials in one compiled, vectorised epoch.

AdamW with a cosine schedule on the hazard loss, rare events weighted up. Each head sees the rows of
its own fold alone, by gathers from data that stay on the device as they are stored: no float32 copy
of them is made. What does not fit the memory limit goes in turns. A head keeps the epoch that was
best on its select rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array
from mist_jax.intervention.forecast.risk_trunk import Weights
from mist_jax.risk.features import StoredSite
from mist_jax.risk.perceptron.batches import PaddedRows, blocks, shuffled
from mist_jax.risk.perceptron.choices import Choice
from mist_jax.risk.perceptron.epochs import (
    MIX,
    FoldRows,
    Learner,
    TrainTable,
    compiled,
    fresh_states,
    fresh_weights,
)
from mist_jax.risk.perceptron.loss import class_weight
from mist_jax.risk.perceptron.memory import Sizes
from mist_jax.risk.perceptron.normaliser import floored, moments
from mist_jax.risk.plan import TrainConfig
from mist_jax.risk.splits import Rows

EPOCHS_PER_CALL = 5
STEPS_OF_AN_EPOCH = 32  # at least, as long as a batch holds SMALLEST_BATCH queries
SMALLEST_BATCH = 16


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt, and by whom; only usable motions are at risk."""

    event: np.ndarray  # bool [Q, W, M]
    at_risk: np.ndarray  # bool [Q, W, M]
    members: Sequence[Rows]
    episode: np.ndarray  # int [Q]


@dataclass(frozen=True)
class Fitted:
    """Heads of every choice of layers C, member K and trial S; leaves of `weights` [C, K, S, ...].

    The trunk's weights and, of a mixture, its logits [site, L].
    """

    weights: Weights
    mean: np.ndarray  # float32 [C, K, L, D]
    scale: np.ndarray  # float32 [C, K, L, D]
    loss: np.ndarray  # float32 [C, K, S], on the select rows at the epoch kept
    best_epoch: np.ndarray  # int [C, K, S], epochs trained to get it

    def mixture(self, c: int, k: int, s: int) -> np.ndarray:
        """Weights of the layers of one head, [site, L]; [1, L] of a fixed choice."""
        if MIX not in self.weights:
            return np.ones((1, self.mean.shape[2]))
        logits = np.asarray(self.weights[MIX][c, k, s], np.float64)
        grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return grown / grown.sum(axis=-1, keepdims=True)

    def trunk(self, c: int, k: int, s: int) -> Weights:
        """The trunk's weights of one head."""
        return {name: leaf[c, k, s] for name, leaf in self.weights.items() if name != MIX}


def fit_choices(
    sites: Mapping[str, StoredSite],
    choices: Sequence[Choice],
    lesson: Lesson,
    learner: Learner,
    progress: Callable[[float], None] = lambda share: None,
) -> Fitted:
    """Fits the heads of `choices`, which read equally many layers, in turns that fit the memory.

    `progress` is told what further share of the whole is over. A motion without an event in a
    member's training rows, or without its absence, carries no loss.
    """
    config, widths = learner.config, [site.values.shape[-1] for site in sites.values()]
    sequences = sequences_of(lesson, learner)
    sizes = sizes_of(sites, choices[0], lesson, learner, sequences)
    per_turn, folds = sizes.turns(len(choices), len(lesson.members), config.memory_limit)
    table = TrainTable(
        *(jnp.asarray(part) for part in (lesson.event, lesson.at_risk, _previous(lesson.episode))),
        *(jnp.asarray(part) for part in (sequences.rows, sequences.here)),
    )
    share = 1 / (-(-len(choices) // per_turn) * -(-len(lesson.members) // folds))
    parts: list[Fitted] = []
    for some in _slices(len(choices), per_turn):
        data = jnp.asarray(np.stack([choice.features(sites) for choice in choices[some]]))
        turns = [
            _fit_turn(data, widths, table, lesson, members, sequences, learner,
                      lambda part: progress(part * share))
            for members in _slices(len(lesson.members), folds)
        ]  # fmt: skip
        parts.append(_joined(turns, axis=1))
        del data  # before the next comes
    return _joined(parts, axis=0)


def sequences_of(lesson: Lesson, learner: Learner) -> PaddedRows:
    """Whole episodes for a trunk that keeps a state, else single queries."""
    if learner.kind == "recurrent":
        return PaddedRows.episodes(lesson.episode)
    return PaddedRows.queries(len(lesson.episode))


def sizes_of(
    sites: Mapping[str, StoredSite],
    choice: Choice,
    lesson: Lesson,
    learner: Learner,
    sequences: PaddedRows,
) -> Sizes:
    """What the memory of a turn follows from."""
    config = learner.config
    width = sum(site.values.shape[-1] for site in sites.values())
    weights = jax.eval_shape(
        partial(fresh_weights, learner, width, (len(sites), choice.layers), lesson.event.shape[1:]),
        jax.random.key(0),
    )
    longest = sequences.rows.shape[1]
    batch = _batch(config, longest, lesson)
    rows = max(rows.train.sum() for rows in lesson.members)
    gates = 8 if learner.kind == "recurrent" else 1  # numbers of a unit that the way back needs
    return Sizes(
        queries=len(lesson.event),
        layers=choice.layers,
        width=width,
        itemsize=max(site.values.dtype.itemsize for site in sites.values()),
        inputs=width * (1 + learner.remembers),
        hidden=0 if learner.kind == "linear" else config.hidden * gates,
        outputs=int(np.prod(lesson.event.shape[1:])),
        parameters=sum(int(np.prod(leaf.shape)) for leaf in weights.values()),
        batch=batch * longest,
        order=EPOCHS_PER_CALL * (int(rows) + batch),
        trials=len(config.trials),
        remembers=learner.remembers,
    )


def layers_that_fit(
    sites: Mapping[str, StoredSite], fixed: Sequence[Choice], lesson: Lesson, learner: Learner
) -> int:
    """Layers that a mixture of those of `fixed` can have within the memory limit."""
    sequences = sequences_of(lesson, learner)
    one = sizes_of(sites, fixed[0], lesson, learner, sequences)
    for layers in range(len(fixed), 1, -1):
        if replace(one, layers=layers).fits(learner.config.memory_limit):
            return layers
    return 1


def _fit_turn(
    data: Array,
    widths: Sequence[int],
    table: TrainTable,
    lesson: Lesson,
    members: slice,
    sequences: PaddedRows,
    learner: Learner,
    progress: Callable[[float], None],
) -> Fitted:
    """All heads of some choices (data [C, Q, L, D]) and some members."""
    config, rows = learner.config, lesson.members[members]
    taught = [np.flatnonzero(one.train) for one in rows]
    mean, scale = _normalisers(data, taught, config.batch)
    batch = _batch(config, sequences.rows.shape[1], lesson)
    train = [sequences.within(one.train) for one in rows]
    selecting = [sequences.within(one.select) for one in rows]
    weights = np.stack(
        [class_weight(lesson.event[at], lesson.at_risk[at], config.max_class_weight)
         for at in taught]
    )  # fmt: skip
    select, select_present = blocks(selecting, batch)
    steps = config.epochs * blocks(train, batch)[0].shape[1]
    site_of = tuple(np.repeat(np.arange(len(widths)), widths).tolist())
    run = compiled(learner, site_of, steps)
    numbers = range(len(lesson.members))[members]
    state = fresh_states(learner, data.shape, len(widths), numbers, lesson.event.shape[1:])
    noise = jnp.asarray([noise for noise, _ in config.trials], jnp.float32)
    key, rng = jax.random.key(config.seed), np.random.default_rng(config.seed)
    done = 0
    for start in range(0, config.epochs, EPOCHS_PER_CALL):
        epochs = np.arange(start, min(start + EPOCHS_PER_CALL, config.epochs))
        order, present = shuffled(train, batch, len(epochs), rng)
        fold = FoldRows(order, present, select, select_present, weights)  # type: ignore[arg-type]
        state = run(state, data, mean, scale, table, fold, key, noise, epochs)
        progress(len(epochs) / config.epochs)
        done = start + len(epochs)
        waited = done - np.asarray(state.best_epoch)
        if select_present.any() and (waited > config.patience).all():
            break
    progress(1 - done / config.epochs)
    best, loss, epoch = jax.device_get((state.best, state.best_loss, state.best_epoch))
    return Fitted(best, mean, scale, loss, epoch)


def _normalisers(
    data: Array, taught: Sequence[np.ndarray], batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale [C, K, L, D] of each member's training rows."""
    rows, present = blocks(taught, batch)
    found = [[moments(x, at, here) for at, here in zip(rows, present, strict=True)] for x in data]
    mean, spread = np.moveaxis(np.asarray(jax.device_get(found), np.float32), 2, 0)
    return mean, floored(spread).astype(np.float32)


def _batch(config: TrainConfig, longest: int, lesson: Lesson) -> int:
    """Padded rows of a minibatch: about `config.batch` queries, fewer where an epoch has few."""
    fewest = min(rows.train.sum() for rows in lesson.members)
    queries = min(config.batch, max(fewest // STEPS_OF_AN_EPOCH, SMALLEST_BATCH))
    return int(max(1, queries // longest))


def _previous(episode: np.ndarray) -> np.ndarray:
    rows = np.arange(len(episode), dtype=np.int32)
    first = np.diff(episode, prepend=-1) != 0
    return np.where(first, rows, rows - 1)


def _slices(count: int, size: int) -> Iterator[Any]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _joined(parts: Sequence[Fitted], axis: int) -> Fitted:
    def join(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate(leaves, axis=axis)

    names = ("weights", "mean", "scale", "loss", "best_epoch")
    columns = ([getattr(part, name) for part in parts] for name in names)
    return Fitted(*(jax.tree.map(join, *column) for column in columns))
