"""What of a study is worth a curve: the loss of every layer, and each detector's figures."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mist_jax.risk.study.checkpoint import RiskMetadata

_LAYER = re.compile(r"layer (\d+)")


def tracked_figures(
    card: Mapping[str, Any], metadata: RiskMetadata
) -> Iterator[tuple[int, dict[str, float]]]:
    """Steps and values by name, the steps rising.

    First the AUROC of first events within tasks (mean over motions, and of any event) of every
    detector that has one, at step 0; then the loss where heads are selected, with the layer as the
    step.
    """
    figures: dict[str, float] = {}
    for detector, found in card["detectors"].items():
        for what in ("mean", "any"):
            value = found["first_events"][what]["auroc_within_task"]["value"]
            if value is not None:
                figures[f"auroc_{what}/{detector}"] = value
    yield 0, figures
    layers = {
        int(match[1]): loss
        for name, loss in metadata.choices.items()
        if (match := _LAYER.fullmatch(name))
    }
    for layer, loss in sorted(layers.items()):
        yield layer, {"select_loss_by_layer": loss}
