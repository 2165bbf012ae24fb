"""A suite of one task: LIBERO's table with the bowl near the arm, and another instruction.

Once, to make its files:  python -c "import suite; suite.make_files()"
Then, in any binary:      --extensions=suite --env=near_bowl
"""

import os
from pathlib import Path

from mist_jax.simulator.libero.suite import Suite, TaskFiles

FOLDER = Path(os.environ.get("NEAR_BOWL_FILES", "near_bowl"))
STATES = FOLDER / "near_bowl.npy"
NEAR = TaskFiles(
    name="near_bowl",
    language="bring the bowl near the arm onto the plate",
    bddl_file=FOLDER / "near_bowl.bddl",
    initial_states_file=STATES,
)
SUITES = (Suite("near_bowl", lambda: (NEAR,), max_steps=150, asset_kinds=("libero", "lite")),)


def make_files(states: int = 3) -> None:
    """Writes the scene, here after one of LIBERO's, and draws initial states from its regions."""
    import numpy as np

    from mist_jax.simulator.environment.environment import Environment
    from mist_jax.simulator.libero.assets import find_assets
    from mist_jax.simulator.libero.suites import load_task

    scene = load_task("libero_spatial", 0).bddl_file.read_text()
    between_plate_and_ramekin, near = "(-0.06 0.19 -0.04 0.21)", "(-0.12 0.02 -0.10 0.04)"
    scene = scene.replace(between_plate_and_ramekin, near)
    FOLDER.mkdir(parents=True, exist_ok=True)
    NEAR.bddl_file.write_text(scene)
    environment = Environment(SUITES[0].tasks[0], find_assets("auto"), render="none")
    drawn = [environment.draw_initial_state(seed) for seed in range(states)]
    np.save(STATES, np.stack(drawn))
