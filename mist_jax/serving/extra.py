"""The libraries that only a server needs: the extra `serve`."""

import importlib.util

from mist_jax.errors import UserError

NEEDED = ("websockets", "msgpack")


def check_installed() -> None:
    """Makes sure that what a server needs is installed, without importing it.

    Raises:
        UserError: something is not.
    """
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(
            f"serving needs {' and '.join(lacking)}, which is not installed: "
            "pip install 'mist_jax[serve]'"
        )
