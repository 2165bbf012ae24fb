"""`mist-jax plan_study`: see mist_jax/commands/plan_study.py."""

from mist_jax.commands import plan_study
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(plan_study)
