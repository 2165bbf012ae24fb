"""Every test runs with the array annotations of mist_jax checked (shapes, dtypes, axis letters)."""

from hypothesis import settings
from jaxtyping import install_import_hook

import tests.helpers.shapes  # noqa: F401 - the hook looks the checker up by its name

install_import_hook("mist_jax", "tests.helpers.shapes.check")

# How long an example takes says nothing on a machine that is shared.
settings.register_profile("mist", deadline=None)
settings.load_profile("mist")
