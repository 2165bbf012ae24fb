"""A trained risk head on disk, with what is needed to judge it again without training data leaks.

A risk head here is the reader of any gating detector; `RiskMetadata.detector` says of which. Beside
the reader that ships, the checkpoint keeps the fold ensemble of every detector and the role of
every scene, so that any scene can be judged by members that never saw it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from flax import traverse_util
from jax.sharding import Sharding

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.checkpoint import (
    METADATA,
    checkpoint_path,
    read_metadata,
    restore_arrays,
    save_checkpoint,
)
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.intervention.reader import RiskReader
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.calibration.registry import SPLIT_CONFORMAL
from mist_jax.risk.labels import Target
from mist_jax.risk.perceptron.head import HEAD
from mist_jax.risk.plan import SAFE_EPOCHS, TrainConfig
from mist_jax.risk.study.ensemble import Ensemble
from mist_jax.risk.study.registry import DETECTORS, Registry, gating

KIND = "risk head"
FOLDER = "risk_head"


@dataclass(frozen=True)
class RiskMetadata:
    """What a risk head is, JSON-ready; `detector` is the registry's name of what reads.

    `sites` are what the detectors of the study were given, the main one first, with `widths`;
    `static` is what of the reader is no array (the sites that it reads itself among it). `target`
    says which events it forecasts. `threshold` [M] is the ensemble's, None where no alarm is ever
    raised; at most `false_alarm_rate` of clean units (`threshold_unit`: "episode", "query" or
    "none") cross it in any motion. `role_of` maps "suite/task/initial state" (or an instruction,
    split by task) to the fold that tested it, or to splits.CALIBRATE or THRESHOLD. `alarm_rule`
    sets the thresholds that gates hold.
    """

    sites: tuple[str, ...]
    widths: tuple[int, ...]
    layer: int
    horizon: int
    share: float
    target: Target
    model: str
    dataset_hash: str
    split: str
    folds: int
    threshold: tuple[float | None, ...]
    false_alarm_rate: float
    threshold_unit: str
    clean_units: int
    usable: tuple[bool, ...]
    n_positive: tuple[int, ...]
    stored_layers: tuple[int, ...]  # of the main site
    role_of: Mapping[str, int]
    # Loss where heads are selected, mean over folds, of each layer or mixture that was tried.
    choices: Mapping[str, float] = field(default_factory=dict)
    static: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)  # detectors left out, and why
    last_layer: int | None = None  # the last that could be chosen, to leave later ones to steer
    detector: str = HEAD
    alarm_rule: str = SPLIT_CONFORMAL.name
    train: TrainConfig = field(default_factory=TrainConfig)
    safe_epochs: int = SAFE_EPOCHS  # for as long SAFE's networks beside it were trained
    motions: tuple[str, ...] = SIGNED_MOTIONS
    normaliser: str = "mean and standard deviation of the training queries, in the arrays"
    code_version: str = ""

    @property
    def site(self) -> str:
        """The main site."""
        return self.sites[0]

    @property
    def alarm_threshold(self) -> np.ndarray:
        """Float32 [M]: the risk above which an alarm is raised; inf where it never is."""
        return from_optional(self.threshold).astype(np.float32)


@dataclass(frozen=True, repr=False)
class TrainedRisk:
    """The reader that ships, the ensembles of every detector, and what sets their thresholds.

    `quiet` are the clean queries of the scenes that set thresholds, without scores: those are in
    each ensemble.
    """

    head: RiskReader
    ensembles: Mapping[str, Ensemble]
    quiet: ScorePaths
    metadata: RiskMetadata

    def __repr__(self) -> str:
        meta = self.metadata
        usable = [n for n, ok in zip(meta.motions, meta.usable, strict=True) if ok]
        return (
            f"TrainedRisk({meta.detector!r} up to layer {meta.layer} of {', '.join(meta.sites)}, "
            f"model {meta.model!r}, {meta.target} events within {meta.horizon} steps, motions "
            f"{', '.join(usable) or 'none'}, ensembles of {', '.join(self.ensembles) or 'none'})"
        )


def save_risk_head(folder: Path, trained: TrainedRisk) -> Path:
    """Writes `folder`/risk_head in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    tree = arrays_of(trained.head, trained.ensembles, trained.quiet)
    described = dataclasses.asdict(trained.metadata)
    del described["code_version"]
    # Orbax keeps no array without elements, such as the gain of a proprio that is not read.
    flat = traverse_util.flatten_dict(tree, sep="/", keep_empty_nodes=True)
    flat = cast(dict[str, Any], flat)
    empty = {name: leaf for name, leaf in flat.items() if np.size(leaf) == 0}
    described["empty"] = {name: [str(a.dtype), *a.shape] for name, a in empty.items()}
    kept = {name: leaf for name, leaf in flat.items() if name not in empty}
    tree = traverse_util.unflatten_dict(kept, sep="/")
    path = folder / FOLDER
    save_checkpoint(path, tree, described, KIND)
    return path


def arrays_of(
    head: RiskReader, ensembles: Mapping[str, Ensemble], quiet: ScorePaths
) -> dict[str, Any]:
    """What the checkpoint's arrays are."""
    return {
        "head": _arrays(head),
        "ensembles": {name: ensemble.arrays() for name, ensemble in ensembles.items()},
        "quiet": {
            "episode": np.asarray(quiet.episode, np.int32),
            "query": np.asarray(quiet.query, np.int32),
        },
    }


def static_of(reader: Any) -> dict[str, Any]:
    """What of a reader is no array, JSON-ready."""
    fields = (f for f in dataclasses.fields(reader) if not f.metadata.get("pytree_node", True))
    return {field.name: getattr(reader, field.name) for field in fields}


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
    """The reader with all ensembles; arguments and errors as `restore_risk_head`."""
    path = checkpoint_path(Path(folder), FOLDER)
    described = read_metadata(path, KIND)
    del described["kind"]
    empty = described.pop("empty", {})
    try:
        described = {name: _tupled(value) for name, value in described.items()}
        described["train"] = TrainConfig(**described["train"])
        metadata = RiskMetadata(**described)
        check_fields(metadata)
        for name in ("threshold", "usable", "n_positive", "motions"):
            if len(getattr(metadata, name)) != len(SIGNED_MOTIONS):
                raise TypeError(f"{name} has not {len(SIGNED_MOTIONS)} values")
        if not metadata.sites or len(metadata.sites) != len(metadata.widths):
            raise TypeError("sites and widths are not told one by one")
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path / METADATA} is damaged, or of another version ({error}); train again"
        ) from error
    reader = gating(metadata.detector, detectors).reader
    tree = restore_arrays(path, sharding)
    try:
        tree = _with_empty(tree, empty)
        head = reader(**tree["head"], **metadata.static)
        stored = tree["ensembles"].items()
        ensembles = {name: Ensemble.of_arrays(arrays) for name, arrays in stored}
        quiet = _quiet(tree["quiet"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); train the risk head again") from error
    return TrainedRisk(head, ensembles, quiet, metadata)


def to_optional(values: np.ndarray) -> tuple[float | None, ...]:
    """JSON has no inf and no nan: None stands for both."""
    return tuple(float(value) if np.isfinite(value) else None for value in values)


def from_optional(values: tuple[float | None, ...]) -> np.ndarray:
    """The inverse of `to_optional` for thresholds: None is inf."""
    return np.asarray([np.inf if value is None else value for value in values])


def _arrays(reader: Any) -> dict[str, Any]:
    """The arrays of a pytree; what is static is in the metadata."""
    fields = (f for f in dataclasses.fields(reader) if f.metadata.get("pytree_node", True))
    return {field.name: getattr(reader, field.name) for field in fields}


def _with_empty(tree: dict[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with the arrays that have no elements, told as [dtype, *shape] by their path."""
    flat = traverse_util.flatten_dict(tree, sep="/", keep_empty_nodes=True)
    flat |= {name: np.zeros(shape, dtype) for name, (dtype, *shape) in empty.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def _quiet(arrays: Mapping[str, Any]) -> ScorePaths:
    episode, query = np.asarray(arrays["episode"]), np.asarray(arrays["query"])
    return ScorePaths(np.zeros(len(episode)), episode, query, np.ones(len(episode), bool))


def _tupled(value: Any) -> Any:
    """JSON's lists as the tuples they were, at any depth."""
    if isinstance(value, dict):
        return {name: _tupled(item) for name, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
