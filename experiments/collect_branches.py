"""`mist-jax collect_branches`: see mist_jax/commands/collect_branches.py."""

from mist_jax.commands import collect_branches
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(collect_branches)
