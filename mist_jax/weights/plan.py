"""Matches a checkpoint's tensors with the key table: sizes, and where each tensor goes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mist_jax.errors import UserError
from mist_jax.weights.key_table import Layout, Rule, Source, evaluate


@dataclass(frozen=True)
class PublishedTensor:
    """One tensor of a checkpoint, known by its header only."""

    source: Source
    key: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return self.key if self.source == "model" else f"{self.source}: {self.key}"


@dataclass(frozen=True)
class Placement:
    """Where one published tensor goes: a parameter, or one block or some rows of it."""

    source: Source
    key: str
    path: str
    layout: Layout
    block: int | None
    row: int

    def arrange(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor in the parameter's layout: matrices as [inputs, outputs], patches by pixel."""
        if self.layout == "transpose":
            return tensor.T
        if self.layout == "patch":  # [outputs, 3, row, column] to [row * column * 3, outputs]
            return tensor.transpose(2, 3, 1, 0).reshape(-1, len(tensor))
        if self.layout == "rows":
            return tensor[0]
        return tensor


@dataclass(frozen=True)
class ConversionPlan:
    """How a checkpoint becomes parameters; `unused` are the keys the reference never uses."""

    placements: tuple[Placement, ...]
    unused: tuple[PublishedTensor, ...]
    sizes: dict[str, int]


def make_plan(tensors: Sequence[PublishedTensor], rules: Sequence[Rule]) -> ConversionPlan:
    """Match every tensor with one rule and every rule with its tensors.

    Sizes are what most tensors agree on, so that one mis-shaped tensor is named and not believed.

    Raises:
        UserError: keys are unmapped, missing, duplicate or mis-shaped; all of them are listed.
    """
    matched: dict[PublishedTensor, tuple[Rule, int | None]] = {}
    unmapped: list[PublishedTensor] = []
    for tensor in tensors:
        found = _match(tensor, rules)
        if found is None:
            unmapped.append(tensor)
        else:
            matched[tensor] = found
    sizes = _depths(matched.values(), rules)
    for tensor, (rule, block) in list(matched.items()):
        if rule.stack is not None and block is not None and block >= sizes[rule.stack]:
            unmapped.append(tensor)
            del matched[tensor]
    sizes |= _widths((tensor.shape, rule) for tensor, (rule, _) in matched.items())
    _raise_if_any(
        {
            "unmapped": [str(tensor) for tensor in unmapped],
            "missing": _missing(matched, rules, sizes),
            "duplicate": _duplicates(tensors),
            "mis-shaped": _misshaped(matched, sizes),
        }
    )
    placements, unused = [], []
    for tensor, (rule, block) in matched.items():
        idle = rule.idle_last and block == sizes[rule.stack or ""] - 1
        if rule.path is None or idle:
            unused.append(tensor)
        else:
            placements.append(
                Placement(tensor.source, tensor.key, rule.path, rule.layout, block, rule.row)
            )
    return ConversionPlan(tuple(placements), tuple(unused), sizes)


def _match(tensor: PublishedTensor, rules: Sequence[Rule]) -> tuple[Rule, int | None] | None:
    for rule in rules:
        if rule.source == tensor.source and (found := rule.pattern.fullmatch(tensor.key)):
            return rule, None if rule.stack is None else int(found["n"])
    return None


def _depths(matched: Iterable[tuple[Rule, int | None]], rules: Sequence[Rule]) -> dict[str, int]:
    """How many blocks each stack has: those that most of its rules found a tensor for."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for rule, block in matched:
        if rule.stack is not None and block is not None:
            found[rule.stack][block] += 1
    depths = {}
    for stack in {rule.stack for rule in rules if rule.stack is not None}:
        needed = sum(rule.stack == stack for rule in rules) / 2
        blocks = [block for block, count in found[stack].items() if count >= needed]
        depths[stack] = 1 + max(blocks, default=-1)
    return depths


def _widths(matched: Iterable[tuple[tuple[int, ...], Rule]]) -> dict[str, int]:
    """The value most tensors give each name that stands alone in a shape."""
    votes: dict[str, Counter[int]] = defaultdict(Counter)
    for shape, rule in matched:
        names = rule.shape.split()
        if len(names) == len(shape):
            for name, size in zip(names, shape, strict=True):
                if name.isidentifier():
                    votes[name][size] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in votes.items()}


def _missing(
    matched: Iterable[PublishedTensor], rules: Sequence[Rule], sizes: dict[str, int]
) -> list[str]:
    present = {(tensor.source, tensor.key) for tensor in matched}
    missing = []
    for rule in rules:
        blocks = range(max(sizes[rule.stack], 1)) if rule.stack else range(1)
        for block in blocks:
            key = rule.key.replace("{n}", str(block))
            if (rule.source, key) not in present:
                missing.append(str(PublishedTensor(rule.source, key, ())))
    return missing


def _duplicates(tensors: Sequence[PublishedTensor]) -> list[str]:
    counts = Counter(str(tensor) for tensor in tensors)
    return [name for name, count in counts.items() if count > 1]


def _misshaped(
    matched: dict[PublishedTensor, tuple[Rule, int | None]], sizes: dict[str, int]
) -> list[str]:
    wrong = []
    for tensor, (rule, _) in matched.items():
        expected = evaluate(rule.shape, sizes)
        if expected is not None and expected != tensor.shape:
            wrong.append(f"{tensor} is {tensor.shape}, expected {expected} ({rule.shape})")
    return wrong


def _raise_if_any(problems: dict[str, list[str]]) -> None:
    found = {kind: keys for kind, keys in problems.items() if keys}
    if not found:
        return
    summary = ", ".join(f"{len(keys)} {kind}" for kind, keys in found.items())
    lines = [f"  {kind}: {key}" for kind, keys in found.items() for key in sorted(keys)]
    raise UserError("\n".join([f"the checkpoint's keys do not fit: {summary}", *lines]))
