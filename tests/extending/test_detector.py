"""A detector of one's own is one file: judged, trained, restored, and read inside the forward."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.risk.plan import StudyConfig
from mist_jax.risk.study.checkpoint import restore_risk_head, save_risk_head
from mist_jax.risk.study.registry import DETECTORS, gating_names, registry_of
from mist_jax.risk.study.train import train_risk
from tests.helpers.tiny import tiny_policy, tiny_policy_inputs
from tests.risk.test_detectors import QUICK, study


def test_it_opens_gates_inside_the_forward_as_it_judges_outside(extended, tmp_path):
    extended("detector")
    policy = tiny_policy()
    samples = study(model=policy.identity, width=policy.sites["llm.resid"].width)
    few = registry_of((DETECTORS["line"],))
    trained = train_risk(
        samples, "h", StudyConfig(detector="line", target="all", train=QUICK), detectors=few
    )
    reader, metadata = restore_risk_head(save_risk_head(tmp_path, trained))
    assert metadata.detector == "line"
    line: Any = reader
    assert float(line.ensemble_scale[0]) > 0, "x+ listens to the score"
    seen = policy.predict_inputs(tiny_policy_inputs(2), sites=("llm.resid",), risk_head=reader)
    activation = seen.activations["llm.resid"][:, samples.layers[0]]

    def outside(activation):
        return reader.forecast(jnp.asarray(activation), jnp.zeros((len(activation), 0)), ())[0]

    np.testing.assert_allclose(seen.signed_risk, outside(activation), rtol=1e-4, atol=1e-6)
    # What it learnt is what was planted: x is dangerous where the first feature is high.
    high = 4 * jnp.eye(1, reader.widths[0])
    assert outside(high)[0, 0] > outside(-high)[0, 0]


def test_without_the_extension_it_is_unknown(tmp_path):
    assert "line" not in gating_names()
    with pytest.raises(UserError, match="no detector 'line' can open gates"):
        train_risk(study(), "h", dataclasses.replace(StudyConfig(), detector="line"))
