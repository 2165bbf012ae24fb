"""Times one query of a policy of either size at random weights, on whatever device there is.

python -m experiments.benchmark --preset=openvla-oft-7b --batch_sizes=1,8 --steering=none,on
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from experiments import binary
from mist_jax.errors import UserError

_PRESET: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "preset", "mist-nano", ("mist-nano", "openvla-oft-7b"), "Architecture."
)
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "2", "4", "8"], "Examples in one query.")
_STEERING = flags.DEFINE_list(
    "steering",
    ["none", "read", "off", "on", "causal"],
    "none: the model alone; read: a risk head reads four sites; off: returning activations, with "
    "zero steering; on: also reading the risk and steering every layer; causal: reading the risk "
    "at one site, and causal pushes at one layer.",
)
_DTYPE: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "dtype", None, ("float32", "bfloat16", "float8"), "Default: float32 on a CPU, else bfloat16."
)
_DEVICES = flags.DEFINE_integer("devices", 1, "Devices to spread the parameters over.", 1)
_REPEATS = flags.DEFINE_integer("repeats", 20, "Queries timed per line of the table.", 1)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where benchmark.json goes; optional.")


def main() -> None:
    """Measures every case, prints the table, and keeps it where asked to."""
    batch_sizes, modes = _batch_sizes(), _modes()

    import jax

    from mist_jax.benchmark.timing import Timing, measure, random_parameters, timing_table
    from mist_jax.checkpoint import code_version
    from mist_jax.disk import replace_file
    from mist_jax.policy.architectures import PRESETS
    from mist_jax.policy.mesh import policy_mesh
    from mist_jax.progress import progress_bar

    devices = jax.devices()
    if _DEVICES.value > len(devices):
        raise UserError(f"--devices={_DEVICES.value}: there are {len(devices)} here")
    dtype = _DTYPE.value or ("float32" if devices[0].platform == "cpu" else "bfloat16")
    model = PRESETS[_PRESET.value]
    parameters = random_parameters(model, dtype, policy_mesh(devices[: _DEVICES.value]))
    cases = [(batch, mode) for batch in batch_sizes for mode in modes]
    timings: list[Timing] = []
    failed: list[str] = []
    with progress_bar("benchmarking", len(cases), "case") as bar:
        for batch, mode in cases:
            timing = measure(model, parameters, batch=batch, steering=mode, repeats=_REPEATS.value)
            if timing is None:
                failed.append(f"batch {batch}, steering {mode}: out of memory")
            else:
                timings.append(timing)
            bar.advance()
    what = f"{_PRESET.value}, {dtype}, {_DEVICES.value} x {devices[0].device_kind}"
    binary.print_table(timing_table(what, timings))
    print("\n".join(failed), end="\n" if failed else "")
    if _OUTPUT_DIR.value:
        path = Path(_OUTPUT_DIR.value) / "benchmark.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "what": what,
            "jax": jax.__version__,
            "command": binary.command(),
            "code_version": code_version(),
            "timings": [dataclasses.asdict(timing) for timing in timings],
            "failed": failed,
        }
        replace_file(path, (json.dumps(kept, indent=1) + "\n").encode())
        print(f"kept: {path}")


def _batch_sizes() -> list[int]:
    try:
        values = [int(value) for value in _BATCH_SIZES.value]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        given = ",".join(_BATCH_SIZES.value)
        raise UserError(f"--batch_sizes={given}: give numbers from 1 up, such as 1,8")
    return values


def _modes() -> list[Any]:
    known = ("none", "read", "off", "on", "causal")
    unknown = [mode for mode in _STEERING.value if mode not in known]
    if unknown or not _STEERING.value:
        raise UserError(
            f"--steering={','.join(_STEERING.value)}: valid ones are {', '.join(known)}"
        )
    return list(dict.fromkeys(_STEERING.value))


if __name__ == "__main__":
    binary.run(main)
