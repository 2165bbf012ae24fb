"""The benchmark times what it says, and knows how much arithmetic that is."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mist_jax.benchmark import timing as benchmark
from mist_jax.benchmark.timing import measure, random_parameters
from mist_jax.errors import UserError
from mist_jax.policy.architectures import PRESETS
from mist_jax.policy.forward import run_model
from mist_jax.policy.mesh import policy_mesh
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from tests.helpers.tiny import TINY, TINY_MODEL, tiny_inputs, tiny_parameters

ROOT = Path(__file__).parents[2]
PUBLISHED = PRESETS["openvla-oft-7b"]


def traced_flops(jaxpr: Any, times: int = 1) -> float:
    """An oracle: the matrix products of a traced program, counted where they stand."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            shape = equation.invars[0].aval.shape
            inner = np.prod([shape[axis] for axis in contracted])
            total += 2.0 * times * float(inner * np.prod(equation.outvars[0].aval.shape))
        again = (
            times * equation.params.get("length", 1) if equation.primitive.name == "scan" else times
        )
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += traced_flops(inner, again)
    return total


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"action_head": "diffusion", "diffusion_steps": 5},
        {"action_head": "tokens"},
        {"film": True},
        {"images": 1, "proprio_dim": 0},
    ],
    ids=["l1", "diffusion", "tokens", "film", "one image"],
)
def test_the_arithmetic_is_that_of_the_traced_forward(change):
    config = dataclasses.replace(TINY, **change)
    inputs = tiny_inputs([config.prompt_capacity] * 2, config)
    model = OpenVLAOFTModel(config)
    traced = jax.make_jaxpr(lambda parameters: run_model(model, parameters, inputs, None))(
        tiny_parameters(config)
    )
    # What is left over are products that move things, such as one-hot ones.
    assert model.flops(2) == pytest.approx(traced_flops(traced.jaxpr), rel=0.02)


def test_one_query_of_the_published_size_is_nine_tflop():
    assert 8e12 < PUBLISHED.flops(1) < 9.5e12


@pytest.mark.parametrize("steering", ["none", "off", "on", "causal"])
def test_every_mode_is_timed(steering):
    parameters = random_parameters(TINY_MODEL, "float32", policy_mesh(jax.devices()[:1]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters))
    timing = measure(TINY_MODEL, parameters, batch=2, steering=steering, repeats=2)
    assert timing is not None
    assert 0 < timing.median_ms <= timing.p90_ms
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(parameters)) / 1e9
    assert timing.memory_gb is not None
    assert size < timing.memory_gb < 10 * size + 0.1
    assert timing.queries_per_s == pytest.approx(2000 / timing.median_ms)


def test_parameters_that_cannot_fit_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(benchmark, "_memory_of", lambda device: 1 << 30)
    with pytest.raises(UserError, match=r"take 15\.1 GB in bfloat16, a device has 1\.1 GB"):
        random_parameters(PUBLISHED, "bfloat16", policy_mesh(jax.devices()[:1]))


def test_a_batch_that_does_not_fit_is_a_line_and_not_the_end(monkeypatch):
    def refuse(query, repeats):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    parameters = tiny_parameters()
    monkeypatch.setattr(benchmark, "_times", refuse)
    assert measure(TINY_MODEL, parameters, batch=1, steering="none", repeats=1) is None


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_binary_prints_and_keeps_a_table_also_over_two_devices(tmp_path):
    done = run(
        "--batch_sizes=1,2",
        "--steering=none,on",
        "--repeats=2",
        "--devices=2",
        f"--output_dir={tmp_path}",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(row["batch"], row["steering"]) for row in kept["timings"]] == [
        (1, "none"),
        (1, "on"),
        (2, "none"),
        (2, "on"),
    ]
    assert "mist-nano, float32, 2 x cpu" in done.stdout
    assert "queries/s" in done.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--batch_sizes=1,zero", "give numbers from 1 up"),
        ("--batch_sizes=0", "give numbers from 1 up"),
        ("--steering=hard", "valid ones are none, read, off, on"),
        ("--preset=openvla-70b", "value should be one of"),
        ("--devices=512", "--devices=512: there are"),
    ],
)
def test_a_bad_flag_is_one_line(argument, message):
    done = run(argument)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
