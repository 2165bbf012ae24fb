"""`mist-jax train_policy`: see mist_jax/commands/train_policy.py."""

from mist_jax.commands import train_policy
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(train_policy)
