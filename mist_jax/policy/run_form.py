"""From parameters as they are stored to parameters as they are run on their devices."""

from typing import Any

import jax

from mist_jax.policy.model import PolicyModel


def run_form(
    model: PolicyModel, parameters: dict[str, Any], *, unrolled: bool | None = None
) -> dict[str, Any]:
    """Stored parameters for the forward to run; what is replaced is deleted.

    `unrolled`: each layer's weights arrays of their own, the loop over the layers unrolled, which
    copies no weights and compiles longer; None: where that is faster (see `unrolled_here`).
    """
    chosen = unrolled_here() if unrolled is None else unrolled
    return model.lay_out(parameters, donate=True) if chosen else parameters


def unrolled_here() -> bool:
    """Whether the unrolled form is faster on the default device: on a GPU (PERFORMANCE.md)."""
    return jax.default_backend() == "gpu"
