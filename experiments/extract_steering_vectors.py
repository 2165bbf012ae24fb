"""`mist-jax extract_steering_vectors`: see mist_jax/commands/extract_steering_vectors.py."""

from mist_jax.commands import extract_steering_vectors
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(extract_steering_vectors)
