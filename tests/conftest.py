"""Every test runs with the array annotations of mist_jax checked (shapes, dtypes, axis letters)."""

import gc
import os

import jax
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.helpers.shapes  # noqa: F401 - the hook looks the checker up by its name

install_import_hook("mist_jax", "tests.helpers.shapes.check")

from mist_jax.compiled_programs import keep_compiled_programs  # noqa: E402 - after the hook

# Compiling is most of what tests cost: files, and the processes they start, share what is compiled.
keep_compiled_programs()
for name in (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
):
    os.environ.setdefault(name, str(getattr(jax.config, name.lower())))

# How long an example takes says nothing on a machine that is shared.
settings.register_profile("mist", deadline=None)
settings.load_profile("mist")


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_end_with_their_file():
    """On a CPU each keeps memory mappings, and a process may have 65,530: XLA then aborts."""
    yield
    jax.clear_caches()
    gc.collect()
