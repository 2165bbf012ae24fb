"""The action lens: what the policy would do if a layer were its last."""

from collections.abc import Sequence

import numpy as np

from mist_jax.errors import UserError
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs

LENS = "llm.lens"


def action_lens(policy: Policy, inputs: Sequence[PolicyInputs]) -> np.ndarray:
    """Raw actions of every layer, float32 [B, L, C, A]; the last layer's are the policy's own.

    The final norm and the action head, put on the action tokens of each layer (nostalgebraist's
    logit lens, 2020). Un-normalised, as `Prediction.raw_actions`.

    Raises:
        UserError: no inputs, or a policy whose head does not decode actions at once.
    """
    if LENS not in policy.sites:
        raise UserError(f"{policy.identity} has no action lens: its head does not regress actions")
    if not inputs:
        raise UserError("the action lens needs at least one observation")
    read = policy.predict_inputs(inputs, sites=(LENS,)).activations[LENS]
    chunk, dimensions = policy.model.chunk, policy.model.action_dim
    return policy.preprocessor.unnormalise(read.reshape(*read.shape[:2], chunk, dimensions))
