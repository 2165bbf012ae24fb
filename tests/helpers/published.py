"""Where the small files of a published checkpoint are, for the tests that compare with them."""

import os
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = "../shared/published/openvla_oft_libero_10"


def published_folder() -> Path:
    """The folder with the published config, tokenizer and statistics; skips where there is none."""
    named = os.environ.get("MIST_PUBLISHED_CHECKPOINT")
    folder = Path(named) if named else Path(__file__).parents[2] / _BESIDE_THE_CHECKOUT
    if not (folder / "config.json").is_file():
        pytest.skip("needs a published checkpoint's small files: set MIST_PUBLISHED_CHECKPOINT")
    return folder.resolve()
