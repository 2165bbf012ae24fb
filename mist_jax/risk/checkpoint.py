"""A trained risk head on disk, with what is needed to judge it again without training data leaks.

Beside the head that ships, the checkpoint keeps the cross-validation members of the head and of the
baselines and the fold of every scene, so that any scene can be judged by a head that never saw it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Sharding

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.checkpoint import METADATA, read_metadata, restore_arrays, save_checkpoint
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.intervention.risk_head import RiskHead

KIND = "risk head"
FOLDER = "risk_head"


@dataclass(frozen=True)
class RiskMetadata:
    """What a risk head is, JSON-ready.

    `threshold` is per dimension, None where no alarm is ever raised; at most `false_alarm_rate` of
    clean units (`threshold_unit`: "episode", "query" or "none") cross it in any dimension.
    `fold_of` maps "suite/task/initial state" to the fold that tested it. `member_threshold` gives,
    per detector, the alarm threshold of each member [K][A].
    """

    site: str
    layer: int
    width: int
    hidden: int
    horizon: int
    share: float
    model: str
    dataset_hash: str
    split: str
    threshold: tuple[float | None, ...]
    false_alarm_rate: float
    threshold_unit: str
    clean_units: int
    usable: tuple[bool, ...]
    n_positive: tuple[int, ...]
    stored_layers: tuple[int, ...]
    validation_auroc: tuple[float | None, ...]  # of each stored layer, mean over folds
    fold_of: Mapping[str, int]
    member_threshold: Mapping[str, tuple[tuple[float | None, ...], ...]]
    dimensions: tuple[str, ...] = ACTION_DIMENSIONS
    normaliser: str = "mean and standard deviation of the training queries, in the arrays"
    code_version: str = ""

    @property
    def gate_threshold(self) -> np.ndarray:
        """Float32 [A]: the risk above which a gate opens; inf where it never does."""
        return from_optional(self.threshold).astype(np.float32)


@dataclass(frozen=True)
class TrainedRisk:
    """The head, the members [K, ...] of "head" and of each baseline, and what they are."""

    head: RiskHead
    members: Mapping[str, RiskHead]
    metadata: RiskMetadata


def save_risk_head(folder: Path, trained: TrainedRisk) -> Path:
    """Writes `folder`/risk_head in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    tree = {
        "head": _as_dict(trained.head),
        "members": {name: _as_dict(heads) for name, heads in trained.members.items()},
    }
    described = dataclasses.asdict(trained.metadata)
    del described["code_version"]
    path = folder / FOLDER
    save_checkpoint(path, tree, described, KIND)
    return path


def restore_risk_head(
    folder: Path, sharding: Sharding | None = None
) -> tuple[RiskHead, RiskMetadata]:
    """The head that ships and what it is, placed on `sharding` (default: the first device).

    `folder` is what `train_risk_predictor` wrote, or the risk_head folder in it.

    Raises:
        UserError: there is no risk head, or it is damaged.
    """
    trained = restore_trained(folder, sharding)
    return trained.head, trained.metadata


def restore_trained(folder: Path, sharding: Sharding | None = None) -> TrainedRisk:
    """The head with its cross-validation members; arguments and errors as `restore_risk_head`."""
    path = checkpoint_path(Path(folder), FOLDER)
    described = read_metadata(path, KIND)
    del described["kind"]
    try:
        metadata = RiskMetadata(**{name: _tupled(value) for name, value in described.items()})
        check_fields(metadata)
        for name in ("threshold", "usable", "n_positive", "dimensions"):
            if len(getattr(metadata, name)) != len(ACTION_DIMENSIONS):
                raise TypeError(f"{name} has not {len(ACTION_DIMENSIONS)} values")
    except TypeError as error:
        raise UserError(
            f"{path / METADATA} is damaged, or of another version ({error}); train again"
        ) from error
    tree = restore_arrays(path, sharding)
    try:
        members = {name: RiskHead(**leaves) for name, leaves in tree["members"].items()}
        head = RiskHead(**tree["head"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); train the risk head again") from error
    return TrainedRisk(head, members, metadata)


def checkpoint_path(folder: Path, name: str) -> Path:
    """`folder` itself where it is a checkpoint, else `folder`/`name`."""
    return folder if (folder / METADATA).is_file() else folder / name


def to_optional(values: np.ndarray) -> tuple[float | None, ...]:
    """JSON has no inf and no nan: None stands for both."""
    return tuple(float(value) if np.isfinite(value) else None for value in values)


def from_optional(values: tuple[float | None, ...]) -> np.ndarray:
    """The inverse of `to_optional` for thresholds: None is inf."""
    return np.asarray([np.inf if value is None else value for value in values])


def _as_dict(head: RiskHead) -> dict[str, Any]:
    return {field.name: getattr(head, field.name) for field in dataclasses.fields(head)}


def _tupled(value: Any) -> Any:
    """JSON's lists as the tuples they were, at any depth."""
    if isinstance(value, dict):
        return {name: _tupled(item) for name, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
