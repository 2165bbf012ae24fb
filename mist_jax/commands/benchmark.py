"""Times one query of a policy of either size at random weights, on whatever device there is.

python -m experiments.benchmark --preset=openvla-oft-7b --batch_sizes=1,8 --steering=none,on

Every row stands beside what a large product and a copy reach in the same run, and its largest
operations are named. On two GPUs: --devices=1,2 --parallel=tokens,data. Each row is told as soon as
it is measured, and kept in benchmark.partial.json until all are.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from mist_jax.benchmark.mode_names import MODES
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.errors import UserError
from mist_jax.policy.dtypes import RUN_DTYPES

_PRESET: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "preset", "mist-nano", ("mist-nano", "openvla-oft-7b"), "Architecture."
)
_BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes",
    ["1", "2", "4", "8"],
    "Examples in one query; of each device with --parallel=data.",
)
_STEERING = flags.DEFINE_list(
    "steering",
    list(MODES),
    "none: the model alone; read: a risk head reads four sites; off: returning activations, with "
    "zero steering; on: also reading the risk and steering every layer; causal: reading the risk "
    "at one site, and causal pushes at one layer.",
)
_DTYPE: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "dtype", None, RUN_DTYPES, "Default: float32 on a CPU, else bfloat16."
)
_DEVICES = flags.DEFINE_list("devices", ["1"], "Numbers of devices to spread a query over.")
_PARALLEL = flags.DEFINE_list(
    "parallel",
    ["tensor"],
    "What several devices share: tensor: the weights, for models too large for one; tokens: those "
    "of one query, for its latency, all weights on each; data: the examples, all weights on each.",
)
_UNROLLED: flags.FlagHolder[Any] = flags.DEFINE_bool(
    "unrolled",
    None,
    "Unroll the loop over the layers, each layer's weights arrays of their own. Default: on a GPU, "
    "as policies are loaded.",
)
_REPEATS = flags.DEFINE_integer("repeats", 20, "Queries timed per line of the table.", 1)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where benchmark.json and benchmark.png go; optional."
)
_FILE, _PARTIAL = "benchmark.json", "benchmark.partial.json"


def main() -> None:
    """Measures every case, prints the tables, and keeps them where asked to."""
    batch_sizes = _numbers("batch_sizes", _BATCH_SIZES.value, "1,8")
    counts = _numbers("devices", _DEVICES.value, "1,2")
    modes = _words("steering", _STEERING.value, MODES)
    parallels = _words("parallel", _PARALLEL.value, ("tensor", "tokens", "data"))

    import jax

    from mist_jax.benchmark.device_layout import DeviceLayout
    from mist_jax.benchmark.figure import timing_figure
    from mist_jax.benchmark.random_weights import random_parameters
    from mist_jax.benchmark.roofline import measure_roofline
    from mist_jax.benchmark.tables import operations_table, roofline_line, row_line, timing_table
    from mist_jax.benchmark.timing import Timing, measure
    from mist_jax.checkpoint import code_version
    from mist_jax.disk import replace_file
    from mist_jax.figures import save_figures
    from mist_jax.policy.architectures import PRESETS
    from mist_jax.policy.run_form import unrolled_here
    from mist_jax.progress import progress_bar

    devices = jax.devices()
    if max(counts) > len(devices):
        raise UserError(f"--devices={max(counts)}: there are {len(devices)} here")
    dtype = _DTYPE.value or ("float32" if devices[0].platform == "cpu" else "bfloat16")
    model = PRESETS[_PRESET.value]
    layouts = dict.fromkeys(
        DeviceLayout.of(devices[:count], parallel) for count in counts for parallel in parallels
    )
    roofline = measure_roofline(devices[0], dtype)
    unrolled = unrolled_here() if _UNROLLED.value is None else _UNROLLED.value
    form = "unrolled" if unrolled else "scanned"
    what = f"{_PRESET.value}, {dtype}, {form}, {devices[0].device_kind}"
    timings: list[Timing] = []
    failed: list[str] = []
    folder = folder_of(_OUTPUT_DIR.value) if _OUTPUT_DIR.value else None

    def keep(name: str) -> Path | None:
        """Writes what was measured so far."""
        if folder is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        kept = {
            "what": what,
            "jax": jax.__version__,
            "command": binary.command_line(),
            "code_version": code_version(),
            "roofline": dataclasses.asdict(roofline),
            "timings": [dataclasses.asdict(timing) for timing in timings],
            "failed": failed,
        }
        path = folder / name
        replace_file(path, (json.dumps(kept, indent=1) + "\n").encode())
        return path

    rows = len(layouts) * len(batch_sizes) * len(modes)
    with progress_bar("benchmarking", rows, "case") as bar:
        for layout in layouts:
            parameters = random_parameters(model, dtype, layout, unrolled=unrolled)
            for batch, mode in [(batch, mode) for batch in batch_sizes for mode in modes]:
                timing = measure(
                    model,
                    parameters,
                    batch=batch,
                    steering=mode,
                    repeats=_REPEATS.value,
                    layout=layout,
                    roofline=roofline,
                    dtype=dtype,
                )
                if timing is None:
                    failed.append(
                        f"batch {batch}, devices {layout.name}, steering {mode}: out of memory"
                    )
                    bar.note(failed[-1])
                else:
                    timings.append(timing)
                    bar.note(row_line(timing))
                keep(_PARTIAL)
                bar.advance()
            del parameters  # the next layout's take their place
    binary.print_table(timing_table(what, timings))
    print(roofline_line(roofline))
    for timing in timings:
        if timing.operations:
            binary.print_table(operations_table(timing))
    print("\n".join(failed), end="\n" if failed else "")
    if folder is not None:
        path = keep(_FILE)
        (folder / _PARTIAL).unlink()
        [picture] = save_figures(folder, {"benchmark": timing_figure(what, timings)})
        print(f"kept: {path}; picture: {picture}")


def _numbers(flag: str, given: list[str], example: str) -> list[int]:
    try:
        values = [int(value) for value in given]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        said = ",".join(given)
        raise UserError(f"--{flag}={said}: give numbers from 1 up, such as {example}")
    return values


def _words(flag: str, given: list[str], known: tuple[str, ...]) -> list[Any]:
    if not given or not set(given) <= set(known):
        raise UserError(f"--{flag}={','.join(given)}: valid ones are {', '.join(known)}")
    return list(dict.fromkeys(given))
