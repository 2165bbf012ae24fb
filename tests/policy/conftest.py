"""Parameters of the tiny model in both of their forms."""

import pytest

from tests.helpers.tiny import TINY_MODEL, tiny_parameters


@pytest.fixture(scope="module")
def stored():
    return tiny_parameters()


@pytest.fixture(scope="module")
def unrolled(stored):
    return TINY_MODEL.lay_out(stored)
