"""A tiny policy and its causal bank, for the tests of arms."""

import dataclasses

import numpy as np
import pytest

from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.along_normal import AlongNormal
from mist_jax.loading import load_policy
from tests.helpers.arm_samples import SIZE
from tests.helpers.causal_samples import tiny_action_value, tiny_causal_bank
from tests.helpers.rollout_samples import save_tiny_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms") / "policy"
    save_tiny_policy(folder)
    return load_policy(folder)


@pytest.fixture(scope="module")
def bank(policy):
    made = tiny_causal_bank(policy)
    # A permuted intent of the simple kind: what matters here is that the arm finds it.
    normal = AlongNormal.of(made.projection, np.ones((2, 3)), np.ones(3), 0.01)
    intents = {
        "permuted": AgainstMotion.of(SIZE),
        "along_normal": normal,
        "action_value": tiny_action_value(made, SIZE),
    }
    return dataclasses.replace(made, intents=intents)
