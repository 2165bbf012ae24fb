"""Names of what was hit, and of action dimensions, as people say them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mist_jax.record.body_names import readable_body

DIMENSION_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "x": "x: forward, back",
        "y": "y: left, right",
        "z": "z: up, down",
        "roll": "roll: turning about x",
        "pitch": "pitch: turning about y",
        "yaw": "yaw: turning about z",
        "gripper": "gripper: closing, opening",
    }
)


def contact_words(row: Mapping[str, Any]) -> str:
    """A row of the summary's contacts: "hand on plate", "held bowl on table"."""
    held = "held " * str(row["link"]).startswith("held ")
    link = readable_body(str(row["link"]).removeprefix("held "))
    return f"{held}{link} on {readable_body(row['obstacle'])}"
