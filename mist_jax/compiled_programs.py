"""Compiled programs are kept on disk, so that a process need not compile what one before it did."""

import importlib.util
import os
import platform
import time
import zlib
from contextlib import suppress
from pathlib import Path

import jax

_MOST_BYTES = 4 * 2**30


def keep_compiled_programs() -> None:
    """Turns JAX's persistent compilation cache on; before the first program is compiled.

    It lies in `$XDG_CACHE_HOME/mist_jax/compiled` (or `~/.cache`), apart for every kind of
    processor, and holds 4 GiB at most, the least used programs leaving first; processes that share
    it lock it. JAX's own environment variables have the last word: `JAX_COMPILATION_CACHE_DIR`
    names another folder, `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings: dict[str, str | int | float] = {
        "jax_compilation_cache_dir": str(cache / "mist_jax" / "compiled" / _processor()),
        "jax_persistent_cache_min_compile_time_secs": 0.3,
    }
    if importlib.util.find_spec("filelock"):  # JAX locks with it; Ray brings it
        settings["jax_compilation_cache_max_size"] = _MOST_BYTES
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    folder, most = (
        getattr(jax.config, f"jax_compilation_cache_{name}") for name in ("dir", "max_size")
    )
    if most != -1:
        _date_undated(Path(folder))


def _date_undated(folder: Path) -> None:
    """Says of programs without it that they were used now: with one such, JAX can keep no other.

    A process that is killed while it keeps a program leaves one, and one that knows no limit.
    """
    for program in folder.glob("*-cache"):
        used = program.with_name(f"{program.name.removesuffix('-cache')}-atime")
        with suppress(OSError):
            if not used.exists():
                used.write_bytes(time.time_ns().to_bytes(8, "little"))


def _processor() -> str:
    """A name of the processor's kind: programs for another one may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = next((line for line in lines if line.startswith("flags")), platform.processor())
    return f"{platform.machine()}-{zlib.crc32(told.encode()):08x}"
