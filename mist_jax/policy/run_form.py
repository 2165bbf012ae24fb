"""From parameters as they are stored to parameters as they are run on their devices."""

from typing import Any

from mist_jax.policy.model import PolicyModel


def run_form(model: PolicyModel, parameters: dict[str, Any], *, unrolled: bool) -> dict[str, Any]:
    """Stored parameters for the forward to run; what is replaced is deleted.

    `unrolled`: each layer's weights arrays of their own, the loop over the layers unrolled, which
    copies no weights and compiles longer.
    """
    return model.lay_out(parameters, donate=True) if unrolled else parameters
