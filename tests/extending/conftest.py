"""Examples of docs/extending.md, named as a user would name them."""

from pathlib import Path

import pytest

from mist_jax.extensions import VARIABLE

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture
def extended(monkeypatch):
    """Names modules of the examples, in this process and in those that it starts."""

    def name(*modules: str) -> None:
        monkeypatch.syspath_prepend(str(EXAMPLES))
        monkeypatch.setenv(VARIABLE, ",".join(modules))

    return name
