"""Fits many hazard heads at once: layers, folds and trials in one compiled, vectorised epoch.

AdamW with a cosine schedule on the hazard loss, rare events weighted up. Each head sees the rows of
its own fold alone, by gathers from data that stay on the device as they are stored: no float32 copy
of them is made. What does not fit the memory limit goes in turns. A head keeps the epoch that was
best on its select rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mist_jax.axes import Array, Float, Int
from mist_jax.intervention.hazard import horizon_logit
from mist_jax.intervention.risk_trunk import TRUNKS, Weights
from mist_jax.risk.features import StoredSite
from mist_jax.risk.judging.metrics import mean_auroc
from mist_jax.risk.perceptron.batches import PaddedRows, blocks, shuffled
from mist_jax.risk.perceptron.choices import Choice
from mist_jax.risk.perceptron.loss import class_weight, hazard_loss
from mist_jax.risk.perceptron.memory import Sizes
from mist_jax.risk.perceptron.normaliser import floored, moments
from mist_jax.risk.plan import TrainConfig
from mist_jax.risk.splits import Rows

EPOCHS_PER_CALL = 5
MIX = "mixture"  # the weights' name for the logits of the layers
NO_SELECTION = np.inf


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt, and by whom; only usable motions are at risk."""

    event: np.ndarray  # bool [Q, W, M]
    at_risk: np.ndarray  # bool [Q, W, M]
    risk: np.ndarray  # bool [Q, M], an event within the horizon
    judged: np.ndarray  # bool [Q], whether that is known
    members: Sequence[Rows]
    episode: np.ndarray  # int [Q]


@dataclass(frozen=True)
class Recipe:
    """What kind of head, and how it learns. Static: one compilation each."""

    kind: str
    remembers: bool
    config: TrainConfig


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
    auroc: np.ndarray  # float [C, K, S], on the select rows, mean over motions; nan: undefined

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


class _State(NamedTuple):
    weights: Weights
    moments: optax.OptState
    best: Weights
    best_loss: Float[Array, ""]
    best_epoch: Int[Array, ""]


class _Table(NamedTuple):
    """The same for every head: labels, where each query's predecessor stands, the padding."""

    event: Array  # bool [Q, W, M]
    at_risk: Array
    previous: Array  # int32 [Q], itself at an episode's first
    rows: Array  # int32 [sequences, Q]
    here: Array


class _Fold(NamedTuple):
    """One member's own: numbers of padded rows in blocks, presence, and its class weights."""

    order: Array  # int32 [epochs, blocks, batch]
    present: Array
    select: Array  # int32 [blocks, batch]
    select_present: Array
    class_weight: Array  # float32 [2, M]


def fit_choices(
    sites: Mapping[str, StoredSite],
    choices: Sequence[Choice],
    lesson: Lesson,
    recipe: Recipe,
    progress: Callable[[float], None] = lambda share: None,
) -> Fitted:
    """Fits the heads of `choices`, which read equally many layers, in turns that fit the memory.

    `progress` is told what further share of the whole is over. A motion without an event in a
    member's training rows, or without its absence, carries no loss.
    """
    config, widths = recipe.config, [site.values.shape[-1] for site in sites.values()]
    sequences = sequences_of(lesson, recipe)
    sizes = sizes_of(sites, choices[0], lesson, recipe, sequences)
    per_turn, folds = sizes.turns(len(choices), len(lesson.members), config.memory_limit)
    table = _Table(
        *(jnp.asarray(part) for part in (lesson.event, lesson.at_risk, _previous(lesson.episode))),
        *(jnp.asarray(part) for part in (sequences.rows, sequences.here)),
    )
    share = 1 / (-(-len(choices) // per_turn) * -(-len(lesson.members) // folds))
    parts: list[Fitted] = []
    for some in _slices(len(choices), per_turn):
        data = jnp.asarray(np.stack([choice.features(sites) for choice in choices[some]]))
        turns = [
            _fit_turn(data, widths, table, lesson, members, sequences, recipe,
                      lambda part: progress(part * share))
            for members in _slices(len(lesson.members), folds)
        ]  # fmt: skip
        parts.append(_joined(turns, axis=1))
    return _joined(parts, axis=0)


def sequences_of(lesson: Lesson, recipe: Recipe) -> PaddedRows:
    """Whole episodes for a trunk that keeps a state, else single queries."""
    if recipe.kind == "recurrent":
        return PaddedRows.episodes(lesson.episode)
    return PaddedRows.queries(len(lesson.episode))


def sizes_of(
    sites: Mapping[str, StoredSite],
    choice: Choice,
    lesson: Lesson,
    recipe: Recipe,
    sequences: PaddedRows,
) -> Sizes:
    """What the memory of a turn follows from."""
    config = recipe.config
    width = sum(site.values.shape[-1] for site in sites.values())
    weights = jax.eval_shape(
        partial(_fresh, recipe, width, (len(sites), choice.layers), lesson.event.shape[1:]),
        jax.random.key(0),
    )
    longest = sequences.rows.shape[1]
    batch = _batch(config, longest)
    rows = max((rows.train.sum() for rows in lesson.members), default=0)
    gates = 8 if recipe.kind == "recurrent" else 1  # numbers of a unit that the way back needs
    return Sizes(
        queries=len(lesson.event),
        layers=choice.layers,
        width=width,
        itemsize=max(site.values.dtype.itemsize for site in sites.values()),
        inputs=width * (1 + recipe.remembers),
        hidden=0 if recipe.kind == "linear" else config.hidden * gates,
        outputs=int(np.prod(lesson.event.shape[1:])),
        parameters=sum(int(np.prod(leaf.shape)) for leaf in weights.values()),
        batch=batch * longest,
        order=EPOCHS_PER_CALL * (int(rows) + batch),
        trials=len(config.trials),
        remembers=recipe.remembers,
    )


def layers_that_fit(
    sites: Mapping[str, StoredSite], fixed: Sequence[Choice], lesson: Lesson, recipe: Recipe
) -> int:
    """Layers that a mixture of those of `fixed` can have within the memory limit."""
    sequences = sequences_of(lesson, recipe)
    one = sizes_of(sites, fixed[0], lesson, recipe, sequences)
    for layers in range(len(fixed), 1, -1):
        if replace(one, layers=layers).fits(recipe.config.memory_limit):
            return layers
    return 1


def _fit_turn(
    data: Array,
    widths: Sequence[int],
    table: _Table,
    lesson: Lesson,
    members: slice,
    sequences: PaddedRows,
    recipe: Recipe,
    progress: Callable[[float], None],
) -> Fitted:
    """All heads of some choices (data [C, Q, L, D]) and some members."""
    config, rows = recipe.config, lesson.members[members]
    learners = [np.flatnonzero(one.train) for one in rows]
    mean, scale = _normalisers(data, learners, config.batch)
    batch = _batch(config, sequences.rows.shape[1])
    train = [sequences.within(one.train) for one in rows]
    selecting = [sequences.within(one.select) for one in rows]
    weights = np.stack(
        [class_weight(lesson.event[at], lesson.at_risk[at], config.max_class_weight)
         for at in learners]
    )  # fmt: skip
    select, select_present = blocks(selecting, batch)
    steps = config.epochs * blocks(train, batch)[0].shape[1]
    site_of = tuple(np.repeat(np.arange(len(widths)), widths).tolist())
    run = compiled(recipe, site_of, steps)
    state = _start(recipe, data.shape, len(widths), members, lesson)
    noise = jnp.asarray([noise for noise, _ in config.trials], jnp.float32)
    key, rng = jax.random.key(config.seed), np.random.default_rng(config.seed)
    done = 0
    for start in range(0, config.epochs, EPOCHS_PER_CALL):
        epochs = np.arange(start, min(start + EPOCHS_PER_CALL, config.epochs))
        order, present = shuffled(train, batch, len(epochs), rng)
        fold = _Fold(order, present, select, select_present, weights)  # type: ignore[arg-type]
        state = run.train(state, data, mean, scale, table, fold, key, noise, epochs)
        progress(len(epochs) / config.epochs)
        done = start + len(epochs)
        waited = done - np.asarray(state.best_epoch)
        if select_present.any() and (waited > config.patience).all():
            break
    progress(1 - done / config.epochs)
    logits = np.asarray(run.judge(state.best, data, mean, scale, table, select))
    auroc = np.full(logits.shape[:3], np.nan)
    for k, (numbers, here) in enumerate(zip(select, select_present, strict=True)):
        within = (sequences.here[numbers] & here[..., None]).reshape(-1)
        at = sequences.rows[numbers].reshape(-1)[within]
        judged = rows[k].select[at] & lesson.judged[at]
        for c, s in np.ndindex(len(auroc), len(config.trials)):
            found = logits[c, k, s].reshape(-1, logits.shape[-1])[within][judged]
            auroc[c, k, s] = mean_auroc(found, lesson.risk[at][judged])
    best, loss, epoch = jax.device_get((state.best, state.best_loss, state.best_epoch))
    return Fitted(best, mean, scale, loss, epoch, auroc)


class Compiled(NamedTuple):
    """What runs on the device."""

    train: Any
    judge: Any


@lru_cache(maxsize=16)
def compiled(recipe: Recipe, site_of: tuple[int, ...], steps: int) -> Compiled:
    """A block of epochs for choices x members x trials; `site_of` names each feature's site.

    `train` is (state, data, mean, scale, table, fold, key, noise, epochs) -> state, and `judge`
    (weights, data, mean, scale, table, select) -> logits [C, K, S, blocks, batch, Q, M].
    """
    config, trunk = recipe.config, TRUNKS[recipe.kind]
    optimiser = _optimiser(config, steps)
    noisy = any(noise for noise, _ in config.trials)

    def features(weights: Weights, x: Array, mean: Array, scale: Array) -> Array:
        normal = (x.astype(jnp.float32) - mean) / scale
        if MIX not in weights:
            return normal[..., 0, :]
        mixture = jax.nn.softmax(weights[MIX], axis=-1)[jnp.asarray(site_of)]  # [D, L]
        return jnp.einsum("...ld,dl->...d", normal, mixture)

    def hazards(weights, x, mean, scale, table, rows, noise, signs):
        u = features(weights, x[rows], mean, scale)
        if recipe.remembers:
            since = u - features(weights, x[table.previous[rows]], mean, scale)
            u = jnp.concatenate([u, since], axis=-1)
        if signs is not None:
            u = u + noise * signs
        return trunk.unroll({k: v for k, v in weights.items() if k != MIX}, u)

    def loss(weights, x, mean, scale, table, block, class_weight, noise, signs):
        numbers, present = block
        rows, here = table.rows[numbers], table.here[numbers] & present[:, None]
        hazard = hazards(weights, x, mean, scale, table, rows, noise, signs)
        at_risk = table.at_risk[rows] & here[..., None, None]
        cost = hazard_loss(hazard, table.event[rows], at_risk, class_weight)
        return cost.sum(), at_risk.any(axis=(-2, -1)).sum()

    def mean_loss(weights, *rest):
        total, count = loss(weights, *rest)
        return total / jnp.maximum(count, 1)

    def epoch(state: _State, x, mean, scale, table, fold, key, noise, number, trained):

        def step(carry, block):
            weights, moment, count = carry
            signs = None
            if noisy:  # signs have the covariance of normal noise and cost a tenth of it
                seed = jax.random.fold_in(jax.random.fold_in(key, number), count)
                inputs = x.shape[-1] * (1 + recipe.remembers)
                shape = (block[0].shape[0], table.rows.shape[1], inputs)
                signs = jax.random.rademacher(seed, shape, jnp.float32)
            gradient = jax.grad(mean_loss)(
                weights, x, mean, scale, table, block, fold.class_weight, noise, signs
            )
            updates, moment = optimiser.update(gradient, moment, weights)
            weights = jax.tree.map(jnp.add, weights, updates)
            return (weights, moment, count + 1), None

        start = (state.weights, state.moments, 0)
        (weights, moment, _), _ = jax.lax.scan(step, start, tuple(trained))

        def add(so_far, block):
            total, count = loss(
                weights, x, mean, scale, table, block, fold.class_weight, noise, None
            )
            return (so_far[0] + total, so_far[1] + count), None

        zero = (jnp.float32(0), jnp.int32(0))
        (total, count), _ = jax.lax.scan(add, zero, (fold.select, fold.select_present))
        found = jnp.where(count > 0, total / jnp.maximum(count, 1), NO_SELECTION)
        # Without rows to select on, the last epoch is the one to keep.
        better = jnp.where(count > 0, found < state.best_loss, number == config.epochs - 1)
        best = jax.tree.map(partial(jnp.where, better), weights, state.best)
        return _State(
            weights,
            moment,
            best,
            jnp.where(better, found, state.best_loss),
            jnp.where(better, number + 1, state.best_epoch),
        )

    def train(state, x, mean, scale, table, fold, key, noise, epochs):
        def body(state, this):
            number, *trained = this
            return epoch(state, x, mean, scale, table, fold, key, noise, number, trained), None

        return jax.lax.scan(body, state, (epochs, fold.order, fold.present))[0]

    def judge(weights, x, mean, scale, table, select):
        def scores(rows):
            return horizon_logit(hazards(weights, x, mean, scale, table, rows, 0.0, None))

        return jax.lax.map(lambda numbers: scores(table.rows[numbers]), select)

    #            state, data, mean, scale, table, fold, key, noise, epochs
    per_trial = (0, None, None, None, None, None, None, 0, None)
    per_member = (0, None, 0, 0, None, 0, None, None, None)
    per_choice = (0, 0, 0, 0, None, None, None, None, None)
    for axes in (per_trial, per_member, per_choice):
        train = jax.vmap(train, in_axes=axes)
        judge = jax.vmap(judge, in_axes=axes[:6])
    return Compiled(jax.jit(train, donate_argnums=0), jax.jit(judge))


def _optimiser(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    def kernels(weights: Weights) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in weights}

    rate = optax.cosine_decay_schedule(config.learning_rate, steps, alpha=0.05)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels),
    )


def _fresh(
    recipe: Recipe, width: int, mixture: tuple[int, int], labels: tuple[int, ...], key: Array
) -> Weights:
    """One head's weights; a mixture [site, L] of several layers starts even."""
    windows, motions = labels
    weights = TRUNKS[recipe.kind].initial(
        key,
        inputs=width * (1 + recipe.remembers),
        hidden=recipe.config.hidden,
        windows=windows,
        motions=motions,
    )
    return weights if mixture[1] == 1 else {**weights, MIX: jnp.zeros(mixture)}


def _start(
    recipe: Recipe, data: tuple[int, ...], sites: int, members: slice, lesson: Lesson
) -> _State:
    """Fresh states [C, K, S]. Choices start alike: what differs between them is what they know."""
    choices, _, layers, width = data
    root = jax.random.key(recipe.config.seed)
    fresh = partial(_fresh, recipe, width, (sites, layers), lesson.event.shape[1:])
    optimiser = _optimiser(recipe.config, 1)

    def start(member: Array, seed: Array) -> _State:
        weights = fresh(jax.random.fold_in(jax.random.fold_in(root, member), seed))
        best = jax.tree.map(jnp.copy, weights)  # given away with the state: not one array twice
        return _State(weights, optimiser.init(weights), best, jnp.float32(jnp.inf), jnp.int32(0))

    every = jax.vmap(jax.vmap(start, in_axes=(None, 0)), in_axes=(0, None))
    seeds = jnp.asarray([seed for _, seed in recipe.config.trials])

    def repeated(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (choices, *leaf.shape))

    numbers = jnp.arange(len(lesson.members))[members]
    return jax.jit(lambda: jax.tree.map(repeated, every(numbers, seeds)))()


def _normalisers(
    data: Array, learners: Sequence[np.ndarray], batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale [C, K, L, D] of each member's training rows."""
    rows, present = blocks(learners, batch)
    found = [[moments(x, at, here) for at, here in zip(rows, present, strict=True)] for x in data]
    mean, spread = np.moveaxis(np.asarray(jax.device_get(found), np.float32), 2, 0)
    return mean, floored(spread).astype(np.float32)


def _batch(config: TrainConfig, longest: int) -> int:
    """PaddedRows of a minibatch that hold about `config.batch` queries."""
    return max(1, config.batch // longest)


def _previous(episode: np.ndarray) -> np.ndarray:
    rows = np.arange(len(episode), dtype=np.int32)
    first = np.diff(episode, prepend=-1) != 0
    return np.where(first, rows, rows - 1)


def _slices(count: int, size: int) -> Iterator[Any]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _joined(parts: Sequence[Fitted], axis: int) -> Fitted:
    def join(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate(leaves, axis=axis)

    names = ("weights", "mean", "scale", "loss", "best_epoch", "auroc")
    columns = ([getattr(part, name) for part in parts] for name in names)
    return Fitted(*(jax.tree.map(join, *column) for column in columns))
