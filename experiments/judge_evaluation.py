"""`mist-jax judge_evaluation`: see mist_jax/commands/judge_evaluation.py."""

from mist_jax.commands import judge_evaluation
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(judge_evaluation)
