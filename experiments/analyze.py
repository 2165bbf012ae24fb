"""`mist-jax analyze`: see mist_jax/commands/analyze.py."""

from mist_jax.commands import analyze
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(analyze)
