"""What the expert would do next: simulated from here, then undone."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mist_jax.simulator.environment.environment import Environment
    from mist_jax.simulator.expert.expert import Expert


def expert_chunk(environment: "Environment", expert: "Expert", chunk: int) -> np.ndarray:
    """The expert's next actions float32 [C, A] from the present state, which is left as it was.

    Observers of the substeps see nothing of it.
    """
    here, observers = environment.snapshot(), environment.substep_observers
    environment.substep_observers = []
    actions = []
    for _ in range(chunk):
        actions.append(expert.action())
        environment.step(actions[-1])
    environment.substep_observers = observers
    environment.restore(here)
    return np.stack(actions).astype(np.float32)
