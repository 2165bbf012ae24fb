"""A trained risk head as a checkpoint holds it, with nothing learnt."""

import dataclasses

import jax
import numpy as np

from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.risk.calibration.paths import ScorePaths
from mist_jax.risk.study.checkpoint import RiskMetadata, TrainedRisk, static_of

SITE = "llm.resid"


def made_up_risk(model: str, width: int, threshold: tuple[float | None, ...]) -> TrainedRisk:
    """Reads layer 0; its calibration is so steep that some motions alarm at some queries."""
    head = RiskHead.initial(jax.random.key(0), sites={SITE: width}, proprio=8, hidden=8, layer=0)
    head = dataclasses.replace(head, platt_scale=20 * head.platt_scale)
    metadata = RiskMetadata(
        sites=(SITE,),
        widths=(width,),
        layer=0,
        horizon=16,
        share=0.25,
        target="first",
        model=model,
        dataset_hash="",
        split="episode",
        folds=3,
        threshold=threshold,
        false_alarm_rate=0.1,
        threshold_unit="episode",
        clean_units=1,
        usable=(True,) * 14,
        n_positive=(9,) * 14,
        stored_layers=(0,),
        role_of={"libero_spatial/0/1": 0},
        static=static_of(head),
    )
    first = np.zeros(1, int)
    quiet = ScorePaths(np.zeros(1), first, first, np.ones(1, bool))
    return TrainedRisk(head, {}, quiet, metadata)
