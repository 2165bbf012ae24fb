"""In which groups detectors are told, in tables and pictures alike."""

from collections.abc import Mapping
from typing import Any

OURS = "ours"
OUTSIDE = "baselines without a look inside"
ON_CONTACTS = "published detectors trained on contacts"
ON_FAILURES = "published detectors trained on failures"
OTHERS = "other detectors"
GROUPS = (OURS, OUTSIDE, ON_CONTACTS, ON_FAILURES, OTHERS)


def grouped(groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of detectors by group, from the group of each; groups without any are left out."""
    found = {group: [name for name, of in groups.items() if of == group] for group in GROUPS}
    return {group: names for group, names in found.items() if names}


def groups_of(card: Mapping[str, Any]) -> dict[str, list[str]]:
    """The detectors of a scorecard by group."""
    return grouped({name: told["group"] for name, told in card["detectors"].items()})
