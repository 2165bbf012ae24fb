"""The benchmark times what it says, and knows how much arithmetic that is."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mist_jax.benchmark import random_weights, timing
from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.benchmark.figure import timing_figure
from mist_jax.benchmark.profile import Operation, Profile, names_of, read_profile
from mist_jax.benchmark.random_weights import random_parameters
from mist_jax.benchmark.roofline import Roofline
from mist_jax.benchmark.tables import over_none, speedup
from mist_jax.benchmark.timing import Timing, measure
from mist_jax.errors import UserError
from mist_jax.policy.architectures import PRESETS
from mist_jax.policy.forward import run_model
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
    layout = DeviceLayout.of(jax.devices()[:1])
    parameters = random_parameters(TINY_MODEL, "float32", layout)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters))
    roofline = Roofline({"float32": 1e-3}, 1e-3, 8)  # a slow machine's: all of the time
    timing = measure(
        *(TINY_MODEL, parameters),
        **{"batch": 2, "steering": steering, "repeats": 2, "layout": layout},
        roofline=roofline,
        dtype="float32",
    )
    assert timing is not None
    assert timing.device_ms is not None
    assert timing.device_ms > 0
    assert len(timing.operations) == 10
    assert any("dot_general" in one.name for one in timing.operations)
    assert timing.roofline_ms is not None
    assert timing.roofline_ms >= timing.flops / 1e6
    assert 0 < timing.median_ms <= timing.p90_ms
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(parameters)) / 1e9
    assert timing.memory_gb is not None
    assert size < timing.memory_gb < 10 * size + 0.1
    assert timing.queries_per_s == pytest.approx(2000 / timing.median_ms)


def test_parameters_that_cannot_fit_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(random_weights, "_memory_of", lambda device: 1 << 30)
    with pytest.raises(UserError, match=r"take 15\.1 GB in bfloat16, a device has 1\.1 GB"):
        random_parameters(PUBLISHED, "bfloat16", DeviceLayout.of(jax.devices()[:1]))


def test_a_batch_that_does_not_fit_is_a_line_and_not_the_end(monkeypatch):
    def refuse(query, repeats):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    parameters = tiny_parameters()
    monkeypatch.setattr(timing, "_times", refuse)
    layout = DeviceLayout.of(jax.devices()[:1])
    given: Any = {"batch": 1, "steering": "none", "repeats": 1, "layout": layout}
    assert measure(TINY_MODEL, parameters, **given) is None


@dataclasses.dataclass
class Event:
    name: str
    start_ns: float
    duration_ns: float
    stats: tuple = ()


@dataclasses.dataclass
class Named:
    """A plane of a profile, or a line of a plane."""

    name: str
    lines: tuple = ()
    events: tuple = ()


def test_a_profile_counts_no_time_twice_and_no_other_thread():
    def operation(name, begin, length):
        return Event(name, begin, length, (("hlo_op", name),))

    loop = operation("while.1", 0, 8e6)
    inside = operation("dot.1", 1e6, 3e6), operation("dot.2", 4e6, 3e6)
    other = Event("python", 0, 90e6)
    beside = operation("copy.9", 6e6, 4e6)  # in another thread: 2 ms while the loop still runs
    lines = Named("a", events=(loop, *inside, other)), Named("b", events=(beside,))
    data: Any = Named("", ())
    data.planes = (Named("/host:CPU", lines),)
    program = """
      %dot.1 = f32[4,8]{1,0} dot(%a, %b), metadata={op_name="jit(f)/while/body/dot_general"}
      ROOT %dot.2 = (f32[4,8]{1,0}, s8[2]) custom-call(%a), metadata={op_name="f/dot_general"}
      %copy.9 = f32[2]{0} copy(%c)
    """
    found = read_profile(data, 2, names_of(program))
    assert isinstance(found, Profile)
    assert found.device_ms == pytest.approx(5.0)
    told = {one.name: (one.calls, one.ms, one.share) for one in found.operations}
    assert told["dot_general f32[4,8]"] == pytest.approx((1.0, 3.0, 0.5))
    assert told["copy f32[2]"] == pytest.approx((0.5, 2.0, 1 / 3))
    assert told["while.1"] == pytest.approx((0.5, 1.0, 1 / 6))


def test_kernels_of_a_cuda_graph_are_told_apart():
    graph = (("hlo_op", "command_buffer_1"),)
    events = Event("dot_fusion_3", 0, 3e6, graph), Event("gemm_128x64", 3e6, 1e6, graph)
    data: Any = Named("", ())
    data.planes = (Named("/device:GPU:0", (Named("Stream #1", events=events),)),)
    program = '%dot_fusion.3 = bf16[4,8]{1,0} fusion(%a), metadata={op_name="f/dot_general"}'
    found = read_profile(data, 1, names_of(program))
    assert isinstance(found, Profile)
    assert [one.name for one in found.operations] == ["dot_general bf16[4,8]", "gemm_128x64"]


def test_operations_whose_names_begin_alike_are_bars_of_their_own():
    ends = ("coopA_NNT", "coopB_NNT")
    operations = tuple(
        Operation(f"nvjet_sm90_tst_192x160_64x4_1x2_h_bz_{end}", 31.0, ms, 0.3)
        for end, ms in zip(ends, (4.0, 2.0), strict=True)
    )
    row = Timing(1, "1", "none", 1.0, False, 9.0, 9.0, 8.0, 5.0, None, 1.0, operations)
    _, shares = timing_figure("", [row]).axes
    assert [bar.get_bbox().bounds[1:3] for bar in shares.containers[0]] == [(-0.4, 4), (0.6, 2)]
    for label, end in zip(shares.get_yticklabels(), ends, strict=True):
        assert label.get_text().endswith(end)


def test_rows_are_compared_with_the_plain_query_and_with_one_device():
    def row(batch, layout, steering, ms):
        return Timing(batch, layout, steering, 1.0, False, ms, ms, None, None, None, 1.0)

    alone, steered = row(4, "1", "none", 10.0), row(4, "1", "on", 10.5)
    tensor, data = row(4, "2 tensor", "none", 8.0), row(8, "2 data", "none", 10.0)
    rows = [alone, steered, tensor, data]
    assert over_none(steered, rows) == pytest.approx(1.05)
    assert over_none(alone, rows) is None
    assert speedup(tensor, rows) == pytest.approx(1.25)
    assert speedup(data, rows) == pytest.approx(2.0)
    assert speedup(alone, rows) is None


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
        "--batch_sizes=2",
        "--steering=none,on",
        "--repeats=2",
        "--devices=1,2",
        "--parallel=data,tokens,tensor",
        f"--output_dir={tmp_path}",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(row["batch"], row["layout"], row["steering"]) for row in kept["timings"]] == [
        (batch, layout, steering)
        for batch, layout in ((2, "1"), (4, "2 data"), (2, "2 tokens"), (2, "2 tensor"))
        for steering in ("none", "on")
    ]
    assert kept["roofline"]["product_tflops"]["float32"] > 0
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "mist-nano, float32, scanned, cpu" in done.stdout
    assert "largest operations: batch 2, devices 2 tensor, steering on" in done.stdout
    assert "queries/s" in done.stdout
    assert "batch 2, devices 1, steering none: " in done.stdout + done.stderr
    assert not (tmp_path / "benchmark.partial.json").exists()


TWO_DEVICES = """
import jax, numpy as np
from mist_jax.benchmark.device_layout import DeviceLayout
from mist_jax.benchmark.random_weights import random_parameters
from mist_jax.policy.forward import forward
from tests.helpers.tiny import TINY_MODEL, tiny_inputs

inputs, answers = jax.device_get(tiny_inputs([5, 12])), []
for devices, parallel in ((1, "tensor"), (2, "data"), (2, "tensor")):
    layout = DeviceLayout.of(jax.devices()[:devices], parallel)
    for unrolled in (False, True):
        parameters = random_parameters(TINY_MODEL, "float32", layout, unrolled=unrolled)
        query = forward.lower(TINY_MODEL, parameters, layout.shaped(inputs), None).compile()
        answers.append(np.asarray(query(parameters, inputs, None).actions))
        np.testing.assert_allclose(answers[-1], answers[0], atol=1e-5)
        leaves = jax.tree.leaves(parameters)
        assert {len(leaf.sharding.device_set) for leaf in leaves} == {devices}
        print(all(leaf.sharding.is_fully_replicated for leaf in leaves))
"""


def test_devices_that_share_the_examples_have_all_weights_in_either_form():
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"] * 4 + ["False"] * 2


def test_what_was_measured_is_kept_when_it_is_stopped(tmp_path):
    partial = tmp_path / "benchmark.partial.json"
    command = [sys.executable, "-m", "experiments.benchmark", "--batch_sizes=1,2,4,8"]
    flags = ["--steering=none,on", "--repeats=2", f"--output_dir={tmp_path}"]
    with subprocess.Popen(
        [*command, *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        until = time.monotonic() + 240
        while not partial.exists() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        running.terminate()
    kept = json.loads(partial.read_text())
    assert 1 <= len(kept["timings"]) < 8
    assert not (tmp_path / "benchmark.json").exists()


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
