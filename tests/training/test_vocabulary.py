"""A policy's tokenizer follows from its recipe and its data, not from what is installed."""

from typing import Any

import pytest

from mist_jax.errors import UserError
from mist_jax.extensions import VARIABLE
from mist_jax.loading import MIST_NANO_FOLDER
from mist_jax.policy.openvla_oft.network.config import PRESETS
from mist_jax.simulator.libero.suites import load_suite, suites
from mist_jax.training.recipes import mist_nano
from mist_jax.training.tokenizer import VOCABULARY_SUITES, vocabulary_of, write_tokenizer

EXTENSION = """
from mist_jax.simulator.libero.suite import Suite, TaskFiles
from pathlib import Path

HERE = Path("nowhere")
FILES = (TaskFiles("zebra", "wave the zebra at the xylophone", HERE, HERE),)
SUITES = (Suite("zoo", lambda: FILES, max_steps=9),)
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    (tmp_path / "zoo_extension.py").write_text(EXTENSION)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, "zoo_extension")


def tokenizer(path, instructions) -> bytes:
    write_tokenizer(path, instructions, PRESETS["mist-nano"].vocab_size)
    return path.read_bytes()


def test_the_recipe_still_trains_the_shipped_tokenizer_also_beside_another_suite(zoo, tmp_path):
    assert "zoo" in suites()
    data = [task.language for task in load_suite("libero_spatial")]
    recipe: Any = mist_nano.get_config()  # ConfigDict knows no field's type
    words = vocabulary_of(recipe.vocabulary_suites, data)
    shipped = (MIST_NANO_FOLDER / "tokenizer.json").read_bytes()
    assert tokenizer(tmp_path / "tokenizer.json", words) == shipped
    assert tuple(recipe.vocabulary_suites) == VOCABULARY_SUITES


def test_a_policy_that_is_trained_on_a_suite_knows_its_words(zoo, tmp_path):
    data = [task.language for task in load_suite("zoo")]
    words = vocabulary_of(("libero_spatial",), data)
    assert words[-1] == "wave the zebra at the xylophone"
    assert words == vocabulary_of(("libero_spatial", "zoo"), [])
    without = tokenizer(tmp_path / "without", vocabulary_of(("libero_spatial",), []))
    assert tokenizer(tmp_path / "with", words) != without


def test_an_unknown_suite_of_a_recipe_is_refused():
    with pytest.raises(UserError, match="no suite 'zoo'"):
        vocabulary_of(("zoo",), [])
