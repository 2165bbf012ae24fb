"""What a risk study tells a tracker."""

import dataclasses

from mist_jax.risk.study.tracked import tracked_figures
from tests.helpers.made_up_risk import made_up_risk


def test_figures_come_first_then_layers_as_rising_steps_and_no_value_is_made_up():
    trained = made_up_risk("toy@1", 4, (0.5,) * 14)
    choices = {"layer 10": 0.1, "mixture": 0.05, "layer 2": 0.2}
    metadata = dataclasses.replace(trained.metadata, choices=choices)
    found = {"auroc_within_task": {"value": 0.75}}
    none = {"auroc_within_task": {"value": None}}
    card = {"detectors": {"head": {"first_events": {"mean": found, "any": none}}}}
    assert list(tracked_figures(card, metadata)) == [
        (0, {"auroc_mean/head": 0.75}),
        (2, {"select_loss_by_layer": 0.2}),
        (10, {"select_loss_by_layer": 0.1}),
    ]
