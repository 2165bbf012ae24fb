"""`mist-jax run_evaluation`: see mist_jax/commands/run_evaluation.py."""

from mist_jax.commands import run_evaluation
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(run_evaluation)
