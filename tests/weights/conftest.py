"""A small checkpoint in the published form."""

from pathlib import Path

import pytest

from tests.helpers.published_checkpoint import copy_checkpoint, write_checkpoint
from tests.helpers.torch_reference import Sizes, TorchReference

SMALL = Sizes(layers=2, dino_depth=3, siglip_depth=3, siglip_width=64)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to be copied before it is damaged."""
    return write_checkpoint(tmp_path_factory.mktemp("published") / "tiny", TorchReference(SMALL))


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return copy_checkpoint(published, tmp_path / "copy")
