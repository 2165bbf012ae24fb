"""The flags of every binary that simulates, declared once."""

import os
import re

from absl import flags

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
DEFAULT_MAX_WORKERS = 8  # a simulator process takes about 1 GB


class _IndexSetParser(flags.ArgumentParser):
    """Reads `0-29,35` as the sorted tuple of the indices it names."""

    syntactic_help = "indices and ranges, such as 0-29 or 0,3,7-9"

    def parse(self, argument: str | tuple[int, ...]) -> tuple[int, ...]:
        if isinstance(argument, tuple):
            return argument
        indices: set[int] = set()
        for part in argument.split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
            if match is None:
                raise ValueError(f"{part!r} is no index or range; give {self.syntactic_help}")
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ValueError(f"the range {part!r} runs backwards; write {last}-{first}")
            indices.update(range(first, last + 1))
        return tuple(sorted(indices))

    def flag_type(self) -> str:
        return "index set"


class _IndexSetSerializer(flags.ArgumentSerializer):
    def serialize(self, value: tuple[int, ...]) -> str:
        return ",".join(str(index) for index in value)


def define_index_set(
    name: str, default: str | None, help: str
) -> flags.FlagHolder[tuple[int, ...] | None]:
    """A flag such as `0-29,35`; its value is a sorted tuple of ints, None where not given."""
    return flags.DEFINE(
        _IndexSetParser(), name, default, help, serializer=_IndexSetSerializer()
    )  # type: ignore[return-value]


ASSETS = flags.DEFINE_enum(
    "assets",
    "auto",
    ("auto", "libero", "lite"),
    "Which scene assets to simulate: LIBERO's own, this project's stand-ins, or auto: LIBERO's "
    "where they are found, else the stand-ins.",
)
ENV = flags.DEFINE_enum("env", "libero_spatial", SUITES, "LIBERO suite.")
MODEL_NAME = flags.DEFINE_string(
    "model_name", "mist-nano", "Converted model folder, hub id, or mist-nano, the shipped one."
)
TASK_IDS = define_index_set("task_ids", None, "Tasks of the suite, such as 0-4,7; default all.")
INITIAL_STATES = define_index_set(
    "initial_states", None, "Initial states of each task, such as 0-29; default all."
)
CAMERA_RES = flags.DEFINE_integer(
    "camera_res", 256, "Height and width of the rendered cameras, pixels.", 32, 1024
)
SEED = flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn.", 0, 2**31 - 1)
NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    None,
    f"Simulator processes; default: one per usable core, at most {DEFAULT_MAX_WORKERS}.",
    1,
    4096,
)
RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", None, "Ray cluster to simulate on, such as auto or host:6379; default: here."
)
WORKER_TIMEOUT = flags.DEFINE_float(
    "worker_timeout",
    300.0,
    "Seconds after which a simulator that does not answer is replaced and its episode run again.",
    1.0,
)

flags.register_validator(
    "model_name", lambda value: bool(value), "give a model folder, a hub id or mist-nano"
)


def num_workers() -> int:
    """`--num_workers`, or one per core that this process may use."""
    if NUM_WORKERS.value is not None:
        return NUM_WORKERS.value
    return min(len(os.sched_getaffinity(0)), DEFAULT_MAX_WORKERS)
