"""Names of what acts in a query that is timed, which flags tell without loading JAX."""

from typing import Literal, get_args

SteeringMode = Literal["none", "read", "off", "on", "causal"]  # see `intervention_of`
MODES: tuple[SteeringMode, ...] = get_args(SteeringMode)
