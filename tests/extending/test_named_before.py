"""Extensions that MIST_EXTENSIONS names before anything of mist_jax is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mist_jax.extensions import VARIABLE

EXAMPLES = Path(__file__).parent / "examples"
ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("first", ["load_policy", "SITES", "make_environment"])
def test_whatever_is_asked_for_first_they_are_all_found(first):
    asked = (
        f"import mist_jax; mist_jax.{first}; policy = mist_jax.load_policy('mist-nano')\n"
        "from mist_jax.policy.architectures import ARCHITECTURES\n"
        "print('perceptron' in ARCHITECTURES, 'llm.resid:gripper' in mist_jax.SITES,"
        " 'llm.resid:gripper' in policy.sites)"
    )
    for modules in (MODULES, MODULES[::-1], ["policy", "gripper_site"], ["gripper_site", "policy"]):
        environment = {
            **os.environ,
            VARIABLE: ",".join(modules),
            "PYTHONPATH": f"{ROOT}:{EXAMPLES}",
        }
        told = subprocess.run(
            [sys.executable, "-c", asked], env=environment, capture_output=True, text=True
        )
        assert told.stdout.split() == ["True"] * 3, told.stderr
