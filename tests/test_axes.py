"""The axis letters: every one that an annotation uses is declared, and means one thing."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from mist_jax.intervention.gate import ThresholdGate
from mist_jax.quaternion import axis_angle

PACKAGE = Path(__file__).parents[1] / "mist_jax"
DECLARED = set(re.findall(r"^\| ([A-Z]) \|", (PACKAGE / "axes.py").read_text(), re.MULTILINE))
ANNOTATION = re.compile(r"(?:Float|Int|Bool|UInt8)\[[\w.]+, \"([^\"]*)\"\]")


def used_letters() -> dict[str, set[str]]:
    """Letter -> files that annotate with it."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for axes in ANNOTATION.findall(path.read_text()):
            for word in re.findall(r"\b[A-Z]+\b", axes):
                for letter in word:
                    found.setdefault(letter, set()).add(str(path.relative_to(PACKAGE)))
    return found


def test_every_letter_in_an_annotation_is_declared():
    used = used_letters()
    assert len(used) > 8
    assert not {letter: files for letter, files in used.items() if letter not in DECLARED}


def test_annotations_are_checked_when_the_tests_run():
    gate = ThresholdGate.of(0.5, jnp.ones((2, 7)), batch=3)
    gate.opened(jnp.zeros((3, 7)))
    with pytest.raises(TypeCheckError):
        gate.opened(jnp.zeros(7))
    with pytest.raises(TypeCheckError):
        axis_angle([0.0, 0.0, 0.0, 1.0])  # pyright: ignore[reportArgumentType]
