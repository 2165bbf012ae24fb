"""Every alarm rule there is; a row makes a new one appear in the cards."""

from mist_jax.extensions import Table
from mist_jax.risk.calibration.adaptive import AdaptiveConformal
from mist_jax.risk.calibration.functional_band import FunctionalBand
from mist_jax.risk.calibration.rule import AlarmRule
from mist_jax.risk.calibration.sequential import Sequential
from mist_jax.risk.calibration.split_conformal import SplitConformal

SPLIT_CONFORMAL = SplitConformal()

ALARM_RULES: Table[AlarmRule] = Table(
    "ALARM_RULES",
    object,
    (SPLIT_CONFORMAL, FunctionalBand(), AdaptiveConformal(), Sequential()),
)
