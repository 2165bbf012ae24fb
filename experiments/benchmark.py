"""`mist-jax benchmark`: see mist_jax/commands/benchmark.py."""

from mist_jax.commands import benchmark
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(benchmark)
