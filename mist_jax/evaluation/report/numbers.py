"""Numbers as the report shows them."""

from collections.abc import Mapping
from typing import Any

from mist_jax.evaluation.metrics import METRICS

NO_NUMBER = "\N{EN DASH}"


def estimate_text(estimate: Mapping[str, Any] | None, name: str) -> dict[str, str]:
    """Value and interval of a metric (or of "recovery" and "harm"), as shown."""
    if estimate is None or estimate["value"] is None:
        return {"value": NO_NUMBER, "interval": ""}
    rate = name not in METRICS or METRICS[name].is_rate or name == "acted"
    value, low, high = (estimate[part] for part in ("value", "low", "high"))

    def shown(number: float) -> str:
        return f"{100 * number:.0f}%" if rate else number_text(number)

    interval = "" if low is None else f"{shown(low)} to {shown(high)}"
    return {"value": shown(value), "interval": interval}


def gap_text(estimate: Mapping[str, Any], name: str) -> dict[str, str]:
    """Value and interval of a difference, with signs; rates in percentage points."""
    if estimate["value"] is None:
        return {"value": NO_NUMBER, "interval": ""}
    scale, digits = (100, 0) if METRICS[name].is_rate else (1, 2)

    def shown(number: float) -> str:
        text = f"{scale * number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
        return text if float(f"{scale * number:.{digits}f}") else "0"

    low, high = estimate["low"], estimate["high"]
    interval = "" if low is None else f"{shown(low)} to {shown(high)}"
    return {"value": shown(estimate["value"]), "interval": interval}


def p_text(p: float | None) -> str:
    """A p-value to two digits."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def number_text(number: float | None) -> str:
    """A number to about three digits."""
    if number is None:
        return NO_NUMBER
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"
