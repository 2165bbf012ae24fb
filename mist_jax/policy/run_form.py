"""From parameters as they are stored to parameters as they are run on their devices."""

from typing import Any

import jax

from mist_jax.policy.model import PolicyModel


def run_form(
    model: PolicyModel, parameters: dict[str, Any], *, unrolled: bool | None = None
) -> dict[str, Any]:
    """Stored parameters for the forward to run; what is replaced is deleted.

    `unrolled`: each layer's weights arrays of their own, the loop over the layers unrolled, which
    an accelerator runs faster and which compiles longer. Default: wherever no CPU is.
    """
    if unrolled is None:
        leaf = jax.tree.leaves(parameters)[0]
        unrolled = all(device.platform != "cpu" for device in leaf.devices())
    return model.lay_out(parameters, donate=True) if unrolled else parameters
