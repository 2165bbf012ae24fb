"""What a registered study says in the summary: its endpoints in their order, first of all."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult
from mist_jax.evaluation.study.findings import find
from mist_jax.evaluation.study.preregistration import Preregistration
from mist_jax.risk.judging.verdict import CANNOT

_SAYS = {
    "better": "shown",
    "not better": "not shown",
    "no worse": "shown",
    "not shown": "not shown",
    CANNOT: "cannot be judged",
}


def study_summary(results: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    """JSON-ready findings of the study that the episodes belong to; None where none is registered.

    Raises:
        UserError: the dataset's preregistration was changed.
    """
    stored = results[0].setup.preregistration
    if stored is None:
        return None
    try:
        registered = Preregistration.from_json(stored)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"the dataset's preregistration is damaged ({error}): restore dataset.json from a copy"
        ) from None
    found = find(results, registered)
    return {
        "digest": stored["digest"],
        "written": registered.written,
        "level": registered.level,
        "arms": list(registered.arms),
        "planned": dict(registered.planned),
        "missing": found.missing,
        "endpoints": [dataclasses.asdict(one) for one in found.endpoints],
    }


def primary_effects(study: Mapping[str, Any] | None) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The endpoints that are differences, by arm, control and metric."""
    return {
        (one["endpoint"]["arm"], one["endpoint"]["against"], one["endpoint"]["metric"]): one
        for one in (study or {}).get("endpoints", ())
        if one["endpoint"]["margin"] is None
    }


def study_lines(study: Mapping[str, Any] | None) -> list[str]:
    """One sentence per endpoint, in their order."""
    return [_line(one) for one in (study or {}).get("endpoints", ())]


def _line(one: Mapping[str, Any]) -> str:
    says = f"Endpoint {one['words']}: {_SAYS[one['verdict']]}"
    if one["why"]:
        return f"{says} ({one['why']})."
    gap = one["difference"]
    value, low, high = (
        "?" if gap[name] is None else f"{100 * gap[name]:+.1f}" for name in ("value", "low", "high")
    )
    return (
        f"{says} ({value} points, 95% {low} to {high}; {one['won']} pairs won, {one['lost']} lost "
        f"of {one['pairs']}; exact p = {one['p']:.2g}, in order {one['p_gatekept']:.2g})."
    )
