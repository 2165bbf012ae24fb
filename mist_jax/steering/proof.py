"""Whether directions do what their names say: a steering bank's `summary.json` tells."""

import json
from pathlib import Path

from mist_jax.errors import UserError

SUMMARY_FILE = "summary.json"


def check_proven(folder: Path, method: str) -> None:
    """Checks that the effect of a method's directions on actions was measured and is causal.

    Raises:
        UserError: it was not measured, or no direction of the method is causal.
    """
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text())
    except (OSError, ValueError):
        summary = {}
    causal = summary.get("effects", {}).get(method, {}).get("causal")
    if causal:
        return
    why = "its effect on actions was not measured" if causal is None else "none of it is causal"
    raise UserError(
        f"{folder}: the directions of the method {method!r} are not proven ({why}); give "
        "--allow_unproven to push along them all the same"
    )
