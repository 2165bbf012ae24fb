"""`mist-jax push_to_hub`: see mist_jax/commands/push_to_hub.py."""

from mist_jax.commands import push_to_hub
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(push_to_hub)
