"""LIBERO's problems with one obstacle more in every scene."""

import functools
from typing import Any

import mujoco
import numpy as np

from mist_jax.simulator.cluttered.corridor import Corridor
from mist_jax.simulator.cluttered.obstacles import OBSTACLES, build_obstacle
from mist_jax.simulator.cluttered.placement import Way, draw_pose, is_free, waiting_pose

# Where there is no room beside the way, the corridor widens: by so much (m) a try after the first.
_TRIES, _TRIES_AS_TOLD, _WIDENING = 600, 200, 0.001


@functools.cache
def with_obstacles(problem_class: type, corridor: Corridor) -> type:
    """The problem class, whose scenes hold all of `OBSTACLES` and have one of them in the way.

    Which one, and where, is drawn after LIBERO has placed its objects, from numpy's global
    generator as those are; the others wait out of sight. The goal and the BDDL file are LIBERO's.
    """

    class Cluttered(problem_class):
        has_obstacles = True

        def _load_objects_in_arena(self, mujoco_arena: Any) -> None:
            super()._load_objects_in_arena(mujoco_arena)
            for obstacle in OBSTACLES:
                self.objects_dict[obstacle.name] = build_obstacle(obstacle)

        def _reset_internal(self) -> None:
            super()._reset_internal()
            _place(self, corridor)

    # LIBERO checks that the class is named like the BDDL file's problem.
    Cluttered.__name__ = problem_class.__name__
    return Cluttered


def _place(env: Any, corridor: Corridor) -> None:
    """Stands one obstacle beside the arm's way, the others aside.

    Raises:
      RandomizationError: no free place was found.
    """
    from robosuite.utils.errors import RandomizationError

    model, data = env.sim.model._model, env.sim.data._data
    addresses = {
        obstacle.name: model.jnt_qposadr[model.body_jntadr[env.obj_body_id[obstacle.name]]]
        for obstacle in OBSTACLES
    }
    for index, obstacle in enumerate(OBSTACLES):
        start = addresses[obstacle.name]
        data.qpos[start : start + 7] = waiting_pose(index, obstacle)
    mujoco.mj_kinematics(model, data)
    # A reset seeds numpy's global generator, from which robosuite draws.
    random = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
    way = _way(env, model, data)
    ground = max(0.0, float(env.workspace_offset[2]))
    chosen = OBSTACLES[random.integers(len(OBSTACLES))]
    start, body = addresses[chosen.name], env.obj_body_id[chosen.name]
    for attempt in range(_TRIES):
        wider = corridor.wider(_WIDENING * max(0, attempt - _TRIES_AS_TOLD))
        data.qpos[start : start + 7] = draw_pose(way, wider, chosen, ground, random)
        mujoco.mj_kinematics(model, data)
        if is_free(model, data, body, chosen, way):
            return
    raise RandomizationError(f"no free place for {chosen.name}")


def _way(env: Any, model: mujoco.MjModel, data: mujoco.MjData) -> Way:
    (_, name, target) = env.parsed_problem["goal_state"][0]
    if target in env.obj_body_id:
        goal = data.xpos[env.obj_body_id[target]]
    else:
        goal = data.site_xpos[model.site(target).id]
    return Way(
        gripper=data.site_xpos[model.site("gripper0_grip_site").id][:2].copy(),
        object=data.xpos[env.obj_body_id[name]][:2].copy(),
        goal=goal[:2].copy(),
    )
