"""A trained risk head on disk, with what is needed to judge it again without training data leaks.

A risk head here is the reader of any gating detector; `RiskMetadata.detector` says of which. Beside
the reader that ships, the checkpoint keeps the cross-validation members of every detector of
contacts and the fold of every scene, so that any scene can be judged by one that never saw it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Sharding

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.checkpoint import METADATA, read_metadata, restore_arrays, save_checkpoint
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.intervention.reader import RiskReader
from mist_jax.risk.detector import Member
from mist_jax.risk.perceptron.head import HEAD
from mist_jax.risk.plan import TrainConfig
from mist_jax.risk.study.registry import DETECTORS, Registry, gating

KIND = "risk head"
FOLDER = "risk_head"


@dataclass(frozen=True)
class RiskMetadata:
    """What a risk head is, JSON-ready; `detector` is the registry's name of what reads.

    `threshold` is per dimension, None where no alarm is ever raised; at most `false_alarm_rate` of
    clean units (`threshold_unit`: "episode", "query" or "none") cross it in any dimension.
    `fold_of` maps "suite/task/initial state" to the fold that tested it. `member_threshold` gives,
    per detector, the alarm threshold of each member [K][A]; beside the one that ships, detectors
    have a last member more, fitted to all scenes.
    """

    site: str
    layer: int
    width: int
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
    last_layer: int | None = None  # the last that could be chosen, to leave later ones to steer
    detector: str = HEAD
    train: TrainConfig = field(default_factory=TrainConfig)
    dimensions: tuple[str, ...] = ACTION_DIMENSIONS
    normaliser: str = "mean and standard deviation of the training queries, in the arrays"
    code_version: str = ""

    @property
    def alarm_threshold(self) -> np.ndarray:
        """Float32 [A]: the risk above which an alarm is raised; inf where it never is."""
        return from_optional(self.threshold).astype(np.float32)


@dataclass(frozen=True, repr=False)
class TrainedRisk:
    """The reader that ships, the stacked members [K, ...] of every detector of contacts, the rest.

    Beside the one that ships they have K + 1 members: the last, fitted to all scenes, is for new
    ones. Members hold their detector's arrays and `platt_scale` and `platt_shift` [K, A].
    """

    head: RiskReader
    members: Mapping[str, Member]
    metadata: RiskMetadata

    def __repr__(self) -> str:
        meta = self.metadata
        usable = [n for n, ok in zip(meta.dimensions, meta.usable, strict=True) if ok]
        return (
            f"TrainedRisk({meta.detector!r} at layer {meta.layer} of {meta.site}, model "
            f"{meta.model!r}, horizon {meta.horizon}, dimensions {', '.join(usable) or 'none'}, "
            f"members of {', '.join(self.members) or 'none'})"
        )


def save_risk_head(folder: Path, trained: TrainedRisk) -> Path:
    """Writes `folder`/risk_head in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    tree = arrays_of(trained.head, trained.members)
    described = dataclasses.asdict(trained.metadata)
    del described["code_version"]
    path = folder / FOLDER
    save_checkpoint(path, tree, described, KIND)
    return path


def arrays_of(head: RiskReader, members: Mapping[str, Member]) -> dict[str, Any]:
    """What the checkpoint's arrays are."""
    return {"head": _arrays(head), "members": {name: dict(m) for name, m in members.items()}}


def restore_risk_head(
    folder: Path, sharding: Sharding | None = None, detectors: Registry = DETECTORS
) -> tuple[RiskReader, RiskMetadata]:
    """The reader that ships and what it is, placed on `sharding` (default: the first device).

    `folder` is what `train_risk_predictor` wrote, or the risk_head folder in it. The reader is of
    the class that its detector, one of `detectors`, names: `RiskHead` by default.

    Raises:
        UserError: there is no risk head, it is damaged, or its detector is not known here.
    """
    trained = restore_trained(folder, sharding, detectors)
    return trained.head, trained.metadata


def restore_trained(
    folder: Path, sharding: Sharding | None = None, detectors: Registry = DETECTORS
) -> TrainedRisk:
    """The reader with cross-validation members; arguments and errors as `restore_risk_head`."""
    path = checkpoint_path(Path(folder), FOLDER)
    described = read_metadata(path, KIND)
    del described["kind"]
    try:
        described = {name: _tupled(value) for name, value in described.items()}
        described["train"] = TrainConfig(**described["train"])
        metadata = RiskMetadata(**described)
        check_fields(metadata)
        for name in ("threshold", "usable", "n_positive", "dimensions"):
            if len(getattr(metadata, name)) != len(ACTION_DIMENSIONS):
                raise TypeError(f"{name} has not {len(ACTION_DIMENSIONS)} values")
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path / METADATA} is damaged, or of another version ({error}); train again"
        ) from error
    reader = gating(metadata.detector, detectors).reader
    tree = restore_arrays(path, sharding)
    try:
        head, members = reader(**tree["head"], site=metadata.site), tree["members"]
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


def _arrays(reader: Any) -> dict[str, Any]:
    """The arrays of a pytree; what is static (its site) is in the metadata."""
    fields = (f for f in dataclasses.fields(reader) if f.metadata.get("pytree_node", True))
    return {field.name: getattr(reader, field.name) for field in fields}


def _tupled(value: Any) -> Any:
    """JSON's lists as the tuples they were, at any depth."""
    if isinstance(value, dict):
        return {name: _tupled(item) for name, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
