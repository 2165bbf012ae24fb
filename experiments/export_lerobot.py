"""`mist-jax export_lerobot`: see mist_jax/commands/export_lerobot.py."""

from mist_jax.commands import export_lerobot
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(export_lerobot)
