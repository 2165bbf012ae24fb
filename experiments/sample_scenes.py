"""`mist-jax sample_scenes`: see mist_jax/commands/sample_scenes.py."""

from mist_jax.commands import sample_scenes
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(sample_scenes)
