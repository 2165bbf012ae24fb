"""`mist-jax select_episodes`: see mist_jax/commands/select_episodes.py."""

from mist_jax.commands import select_episodes
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(select_episodes)
