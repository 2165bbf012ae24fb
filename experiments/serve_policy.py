"""`mist-jax serve_policy`: see mist_jax/commands/serve_policy.py."""

from mist_jax.commands import serve_policy
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(serve_policy)
