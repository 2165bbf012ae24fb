"""Where the time of a compiled program goes on its devices, from XLA's own profile."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData

_DEVICE = "/device:"
_OPERATION = "hlo_op"
_GRAPH = "command_buffer"  # a CUDA graph: its kernels are told apart by their own names alone
# `%fusion.3 = (bf16[8,64]{1,0}, s8[4]{0}) fusion(...), metadata={op_name="jit(f)/dot_general" ...}`
_LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = \(?([a-z0-9]+\[[\d,]*\])", re.MULTILINE)
_WRITTEN = re.compile(r'op_name="([^"]*)"')
_MOST = 10  # operations that are kept
_NUMBER = re.compile(r"[.\d]+$")


@dataclass(frozen=True)
class Operation:
    """What XLA made of one operation of the source: all those of one name and result together."""

    name: str  # such as `dot_general bf16[608,4096]`
    calls: float  # in one query
    ms: float  # of one query; of all devices together, without what runs within it
    share: float  # of the time of all operations


@dataclass(frozen=True)
class Profile:
    """One query's time on the devices.

    `device_ms` is how long the busiest device had something to do; waiting for the host between
    operations is not in it, waiting for another device within one is.
    """

    device_ms: float
    operations: tuple[Operation, ...]  # the largest first


class _Span(NamedTuple):
    begin: float  # ns
    end: float
    name: str


def profiled(query: Callable[[], Any], repeats: int, program: str) -> Profile | None:
    """Runs a warm program under the profiler; None where the profile names no operation.

    Args:
        query: asks once, and waits for the answer.
        repeats: how often; figures are averages.
        program: its text (HLO), which tells what was written in the source.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's calls say nothing here, and take their time
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(repeats):
                query()
        [path] = Path(folder).rglob("*.xplane.pb")
        data = ProfileData.from_file(str(path))
        return read_profile(data, repeats, names_of(program))


def names_of(program: str) -> dict[str, str]:
    """What operations of a compiled program are in the source, with their (first) result."""
    names = {}
    for found in _LINE.finditer(program):
        end = program.find("\n", found.end())
        written = _WRITTEN.search(program, found.end(), end if end >= 0 else len(program))
        name = written[1].rpartition("/")[2] if written else ""
        told = f"{name or _NUMBER.sub('', found[1])} {found[2]}"
        names[found[1]] = names[found[1].replace(".", "_")] = told  # a kernel's name has no dots
    return names


def read_profile(data: Any, repeats: int, names: Mapping[str, str]) -> Profile | None:
    """What a profile of `repeats` queries says.

    An accelerator's operations lie on the streams of its own plane; a CPU's are told from other
    events of its threads by their name in the program.
    """
    busy, calls = [0.0], Counter()
    spent: Counter[str] = Counter()
    planes = list(data.planes)
    devices = [plane for plane in planes if plane.name.startswith(_DEVICE)]
    for plane in devices or planes:
        lines = [line for line in plane.lines if not devices or _is_stream(line.name)]
        spans = [_spans(line, named=not devices) for line in lines]
        busy.append(_union(span for line in spans for span in line))
        for line in spans:
            for name, ns in _own_times(line).items():
                spent[names.get(name, name)] += ns
            calls.update(names.get(span.name, span.name) for span in line)
    total = sum(spent.values())
    if not total:
        return None
    largest = tuple(
        Operation(name, calls[name] / repeats, ns / 1e6 / repeats, ns / total)
        for name, ns in spent.most_common(_MOST)
    )
    return Profile(max(busy) / 1e6 / repeats, largest)


def _is_stream(name: str) -> bool:
    """Whether a device's line holds operations: a GPU's streams, a TPU's own list of them."""
    return name.startswith("Stream") or name == "XLA Ops"


def _spans(line: Any, *, named: bool) -> list[_Span]:
    """The line's operations, in order; `named`: of those alone that say which they are."""
    spans = []
    for event in line.events:
        if event.duration_ns <= 0:
            continue
        told = next((value for key, value in event.stats if key == _OPERATION), None)
        if told is not None or not named:
            name = str(told or event.name)
            if name.startswith(_GRAPH):
                name = event.name
            spans.append(_Span(event.start_ns, event.start_ns + event.duration_ns, name))
    return sorted(spans, key=lambda span: (span.begin, -span.end))


def _union(spans: Iterable[_Span]) -> float:
    """Nanoseconds in which at least one of them runs."""
    total, until = 0.0, 0.0
    for span in sorted(spans):
        total += max(span.end - max(span.begin, until), 0.0)
        until = max(until, span.end)
    return total


def _own_times(spans: list[_Span]) -> Counter[str]:
    """Nanoseconds by name, without those of spans inside (a loop's body)."""
    spent: Counter[str] = Counter()
    around: list[_Span] = []
    for span in spans:
        while around and around[-1].end <= span.begin:
            around.pop()
        if around:
            spent[around[-1].name] -= min(span.end, around[-1].end) - span.begin  # type: ignore[assignment]
        spent[span.name] += span.end - span.begin  # type: ignore[assignment]
        around.append(span)
    return spent
