"""What float8 adds to the actions of mist-nano, beside bfloat16's own error.

python -m tests.measuring.float8_error     prints the error of each action dimension

Root mean square over the chunk, in the units of the environment (-1 to 1), against float32: on
observations along a scripted expert's way through the first task of libero_spatial.
"""

import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.loading import load_policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.expert.expert import Expert
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task

STATES, QUERIES, EVERY = 2, 8, 8
KINDS = ("bfloat16", "float8")


def observed(before: Preprocessor) -> list[PolicyInputs]:
    """Inputs at every eighth step of the expert's episodes."""
    task = load_task("libero_spatial", 0)
    assets = find_assets("auto", allow_download=False)
    environment = Environment(task, assets, camera_res=256)
    inputs = []
    for state in range(STATES):
        environment.reset(state, 0)
        expert = Expert(environment)
        for step in range(QUERIES * EVERY):
            if step % EVERY == 0:
                inputs.append(before(environment.observe(), task.language))
            environment.step(expert.action())
    environment.close()
    return inputs


def errors() -> dict[str, np.ndarray]:
    """Root mean square error of each action dimension, by dtype."""
    exact = load_policy("mist-nano", dtype=jnp.float32)
    inputs = observed(exact.preprocessor)

    def actions(dtype: str) -> np.ndarray:
        policy = load_policy("mist-nano", dtype=dtype)
        return np.concatenate(
            [policy.predict_inputs(inputs[i : i + 8]).raw_actions for i in range(0, len(inputs), 8)]
        )

    plain = actions("float32")
    return {kind: np.sqrt(((actions(kind) - plain) ** 2).mean((0, 1))) for kind in KINDS}


def main() -> None:
    """Prints the table."""
    table = Table("dimension", *KINDS, box=None)
    found = errors()
    for index, name in enumerate(ACTION_DIMENSIONS):
        table.add_row(name, *(f"{found[kind][index]:.4f}" for kind in KINDS))
    Console().print(table)


if __name__ == "__main__":
    main()
