"""What a study writes beside its checkpoint: metrics.json, table.md and the pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mist_jax.disk import replace_file
from mist_jax.errors import UserError
from mist_jax.risk.judging.cards.failures import failure_card
from mist_jax.risk.judging.cards.scorecard import scorecard
from mist_jax.risk.judging.cards.table import markdown
from mist_jax.risk.judging.evidence import Evidence
from mist_jax.risk.plan import SAFE_EPOCHS
from mist_jax.risk.study.checkpoint import RiskMetadata
from mist_jax.risk.study.figures import draw_all

METRICS, TABLE = "metrics.json", "table.md"
TITLES = {
    ("episode", "members"): "seen tasks, unseen scenes",
    ("task", "members"): "unseen tasks",
    ("episode", "ensemble"): "new scenes",
    ("task", "ensemble"): "new tasks",
    ("episode", "both"): "unseen scenes, new ones among them",
    ("task", "both"): "unseen tasks, new ones among them",
}


def full_card(evidence: Evidence, metadata: RiskMetadata, *, seed: int = 0) -> dict[str, Any]:
    """The scorecard, that of failures in it, and what of the risk head a reader needs to know."""
    card = scorecard(evidence, seed=seed)
    if any(forecast.score is not None for forecast in evidence.forecasts.values()):
        card["failures"] = failure_card(evidence, seed=seed)
    return {
        "split": metadata.split,
        "judges": judges(evidence, metadata),
        "threshold": metadata.threshold,
        "threshold_unit": metadata.threshold_unit,
        "threshold_clean_units": metadata.clean_units,
        "sites": metadata.sites,
        "layer": metadata.layer,
        "absent": {**metadata.absent, **evidence.absent},
        "safe_epochs": metadata.safe_epochs,
        **card,
    }


def judges(evidence: Evidence, metadata: RiskMetadata) -> str:
    """Who judged: "members" that never saw the scenes, the "ensemble", of new ones, or "both"."""
    new = evidence.stratum == metadata.folds
    return "both" if new.any() and not new.all() else "ensemble" if new.all() else "members"


def title_of(card: Mapping[str, Any]) -> str:
    """What the scenes of a card are to those who judged them."""
    return TITLES[card["split"], card["judges"]]


def verdict_of_card(card: Mapping[str, Any]) -> list[str]:
    """All sentences of a card."""
    said = [*card["verdict"], *card.get("failures", {}).get("verdict", ())]
    said += [f"Left out: {reason}." for reason in card["absent"].values()]
    safe = any(name.startswith("SAFE-") for name in card["detectors"])
    length = (
        f"SAFE's networks were trained for {card['safe_epochs']} epochs; {SAFE_EPOCHS} are its own."
    )
    return said + [length] * safe


def write_report(
    folder: Path,
    evidence: Evidence,
    card: Mapping[str, Any],
    metadata: RiskMetadata,
    beside: Mapping[str, Mapping[str, Any]],
) -> list[Path]:
    """Writes everything into `folder` and returns the figures' paths.

    `beside` are cards of other studies by what they are called, told in the same tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(card, indent=1, allow_nan=False)
    replace_file(folder / METRICS, (text + "\n").encode())
    table = markdown({title_of(card): card, **beside})
    replace_file(folder / TABLE, table.encode())
    return draw_all(folder / "plots", evidence, card, metadata)


def read_cards(folders: list[str]) -> dict[str, Any]:
    """The cards of other studies' folders, by the kind of their split and, if need be, by folder.

    Raises:
        UserError: there is no card, or it cannot be read.
    """
    cards: dict[str, Any] = {}
    for folder in folders:
        path = Path(folder) / METRICS
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            title = title_of(card)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--beside: {path} is no scorecard ({error!r})") from error
        cards[f"{title} ({Path(folder).name})"] = card
    return cards
