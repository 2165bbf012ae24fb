"""`mist-jax export_rlds`: see mist_jax/commands/export_rlds.py."""

from mist_jax.commands import export_rlds
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(export_rlds)
