"""`mist-jax collect_failure_data`: see mist_jax/commands/collect_failure_data.py."""

from mist_jax.commands import collect_failure_data
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(collect_failure_data)
