"""The statistics of the training data that actions and proprio are normalised by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from mist_jax.errors import UserError

BoundsKind = Literal["q01_q99", "min_max"]
_FIELDS: dict[BoundsKind, tuple[str, str]] = {
    "q01_q99": ("q01", "q99"),
    "min_max": ("min", "max"),
}


@dataclass(frozen=True)
class Bounds:
    """What -1 and 1 mean for each dimension, float64 [D]; unmasked ones are left alone."""

    low: Float[np.ndarray, "D"]
    high: Float[np.ndarray, "D"]
    mask: Bool[np.ndarray, "D"]

    @classmethod
    def of(cls, entry: Mapping[str, Any], kind: BoundsKind, where: str) -> "Bounds":
        """Bounds of one quantity (`action`, `proprio`) of a statistics file."""
        low_name, high_name = _FIELDS[kind]
        if not isinstance(entry, Mapping):
            raise UserError(f"{where} is {type(entry).__name__}; it needs {low_name}, {high_name}")
        missing = [name for name in (low_name, high_name) if name not in entry]
        if missing:
            raise UserError(f"{where} has no {missing[0]!r}; it needs {low_name} and {high_name}")
        try:
            low, high = np.asarray(entry[low_name], float), np.asarray(entry[high_name], float)
            mask = np.asarray(entry.get("mask", np.ones(low.shape, bool)), bool)
        except (ValueError, TypeError) as error:
            raise UserError(f"{where} is no list of numbers: {error}") from None
        if low.ndim != 1 or low.shape != high.shape or low.shape != mask.shape:
            raise UserError(
                f"{where}: {low_name} {low.shape}, {high_name} {high.shape} and mask {mask.shape} "
                "must be lists of one length"
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise UserError(f"{where}: {low_name} must be finite and not above {high_name}")
        return cls(low, high, mask)

    def __len__(self) -> int:
        return len(self.low)


@dataclass(frozen=True)
class Statistics:
    """One data set's bounds; `proprio` is None where its file has none."""

    key: str
    action: Bounds
    proprio: Bounds | None


def read_statistics(
    source: Path | Mapping[str, Any], key: str | None = None, kind: BoundsKind = "q01_q99"
) -> Statistics:
    """The statistics of data set `key` in a `dataset_statistics.json` (path or contents).

    Raises:
        UserError: the file cannot be read, or `choose_key` finds no such data set.
    """
    if isinstance(source, Path):
        where, table = str(source), _read_json(source)
    else:
        where, table = "dataset statistics", source
    key = choose_key(table, key, where)
    entry = table[key]
    if not isinstance(entry, Mapping) or "action" not in entry:
        raise UserError(f"{where}: {key!r} has no 'action' statistics")
    proprio = entry.get("proprio")
    return Statistics(
        key=key,
        action=Bounds.of(entry["action"], kind, f"{where}: {key}.action"),
        proprio=None if proprio is None else Bounds.of(proprio, kind, f"{where}: {key}.proprio"),
    )


def choose_key(table: Mapping[str, Any], key: str | None, where: str) -> str:
    """The data set a name means: itself, or itself with `_no_noops`; no name means the only one.

    Raises:
        UserError: no data set has that name, or no name is given and there are several.
    """
    known = ", ".join(sorted(table)) or "none"
    if key is None:
        if len(table) != 1:
            raise UserError(
                f"{where} holds several data sets; name one, by convert_weights --unnorm_key or "
                f"load_policy(unnorm_key=...): {known}"
            )
        return next(iter(table))
    for candidate in (key, f"{key}_no_noops"):
        if candidate in table:
            return candidate
    raise UserError(f"{where} has no data set {key!r}; it has: {known}")


def unnormalise_actions(
    actions: Float[np.ndarray, "*batch A"], bounds: Bounds
) -> Float[np.ndarray, "*batch A"]:
    """Actions on [-1, 1] in the data's own units, float32; unmasked dimensions pass through."""
    actions = np.asarray(actions, np.float64)
    scaled = 0.5 * (actions + 1.0) * (bounds.high - bounds.low + 1e-8) + bounds.low
    return np.where(bounds.mask, scaled, actions).astype(np.float32)


def action_scale(bounds: Bounds) -> Float[np.ndarray, "A"]:
    """The slope of `unnormalise_actions`: one normalised unit in the data's own, float64."""
    return np.where(bounds.mask, 0.5 * (bounds.high - bounds.low + 1e-8), 1.0)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; the policy's folder must hold it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise UserError(f"{path} must map data set names to statistics")
    return table
