"""A figure with its interval as it stands in `metrics.json`."""

import dataclasses
from typing import Any

import numpy as np

from mist_jax.risk.judging.metrics import interval
from mist_jax.risk.judging.verdict import CANNOT, MIN_CLUSTERS, verdict_of


def described(values: np.ndarray, reason: str) -> dict[str, Any]:
    """The plain value and its interval from values [1 + replicates]."""
    if not np.isfinite(values[0]):
        return {"value": None, "reason": reason}
    bounds = interval(values[1:]) if len(values) > 1 else None
    result: dict[str, Any] = {"value": round(float(values[0]), 6)}
    if bounds is None:
        return {**result, "interval": None, "reason": "undefined in too many resamples"}
    return {**result, "interval": [round(bound, 6) for bound in bounds]}


def judge_difference(value: dict[str, Any], clusters: int) -> None:
    """Adds the `verdict` on a described difference, and the `reason` why there is none."""
    low, _ = value.get("interval") or (None, None)
    value["verdict"] = verdict_of(low, clusters)
    if value["verdict"] == CANNOT and low is not None:
        value["reason"] = (
            f"{clusters} scenes hold the rarer of the two classes; {MIN_CLUSTERS} are needed"
        )


def plain(record: Any) -> dict[str, Any]:
    """A dataclass of numbers with nan as null."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in dataclasses.asdict(record).items()
    }
