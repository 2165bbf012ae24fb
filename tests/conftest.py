"""Every test runs with the array annotations of mist_jax checked (shapes, dtypes, axis letters)."""

import gc
import sys

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.helpers.shapes  # noqa: F401 - the hook looks the checker up by its name

install_import_hook("mist_jax", "tests.helpers.shapes.check")

# How long an example takes says nothing on a machine that is shared.
settings.register_profile("mist", deadline=None)
settings.load_profile("mist")


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_end_with_their_file():
    """On a CPU each keeps memory mappings, and a process may have 65,530: XLA then aborts."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()
