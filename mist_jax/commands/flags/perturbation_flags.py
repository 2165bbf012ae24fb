"""Flags of a perturbation that disturbs episodes."""

from typing import Any

from absl import flags

from mist_jax.errors import UserError
from mist_jax.simulator.environment.perturbation import PERTURBATION_KINDS, PerturbationSpec

_DEFAULTS = PerturbationSpec()
KIND: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "perturbation",
    "none",
    PERTURBATION_KINDS,
    "What disturbs the executed actions for a while; of all arms alike.",
)
ONSET = flags.DEFINE_list(
    "perturbation_onset",
    [str(step) for step in _DEFAULTS.onset],
    "Range of the first perturbed step, such as 10,60.",
)
LENGTH = flags.DEFINE_list(
    "perturbation_length",
    [str(steps) for steps in _DEFAULTS.length],
    "Range of the number of perturbed steps.",
)
STRENGTH = flags.DEFINE_list(
    "perturbation_strength",
    [str(norm) for norm in _DEFAULTS.strength],
    "Range of the offset's norm, in action units (1 commands 0.05 m or 0.5 rad).",
)


def perturbation() -> PerturbationSpec:
    """What the flags say. Raises UserError for a range that is none."""
    return PerturbationSpec(
        KIND.value,
        onset=_range(ONSET, int),
        length=_range(LENGTH, int),
        strength=_range(STRENGTH, float),
    )


def _range(flag: flags.FlagHolder, kind: type) -> tuple:
    try:
        low, high = (kind(value) for value in flag.value)
    except ValueError:
        raise UserError(
            f"--{flag.name}={','.join(flag.value)}: give two numbers, such as {flag.default}"
        ) from None
    return low, high
