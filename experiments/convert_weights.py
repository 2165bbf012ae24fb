"""`mist-jax convert_weights`: see mist_jax/commands/convert_weights.py."""

from mist_jax.commands import convert_weights
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(convert_weights)
