"""LIBERO's problems whose objects stand further from where the BDDL file means them to."""

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from mist_jax.errors import UserError
from mist_jax.record.observation import AGENT_CAMERA
from mist_jax.simulator.cluttered.corridor import Corridor
from mist_jax.simulator.cluttered.problem import with_obstacles


@dataclass(frozen=True)
class Layout:
    """How a level displaces objects.

    Attributes:
      reach: how much further an object may stand from the middle of its region, each way (m).
      confounds: whether an object that no task knows stands somewhere, away from the arm's way.
    """

    reach: float
    confounds: bool

    def __str__(self) -> str:
        return f"by {100 * self.reach:g} cm{', one object more' if self.confounds else ''}"


LAYOUTS = (Layout(0.02, False), Layout(0.04, False), Layout(0.04, True))
_AWAY = Corridor(nearest=0.15, farthest=0.35)
# A reset draws the fixtures' poses anew, some 2 cm from where they were.
_GAP_TO_FIXED, _GAP_TO_OTHERS = 0.02, 0.005  # m
_VIEW = 0.92  # of the picture's half width: where an object's middle may be


@functools.cache
def with_layout(problem_class: type, level: int) -> type:
    """The problem class, whose objects are displaced as the level says.

    Only what stands in a region of the workspace is; what stands on another object goes with it,
    what stands on or in a fixture stays there. A scene in which one is too near another or a
    fixture, or has left the agentview camera's view, is drawn again.

    Raises:
      UserError: the level adds an object, and the suite's scenes are cluttered already.
    """
    layout = LAYOUTS[level - 1]
    if layout.confounds and getattr(problem_class, "has_obstacles", False):
        raise UserError(f"layout{level} adds an obstacle to scenes that have one: use layout2")

    class Displaced(problem_class):
        def _add_placement_initializer(self) -> None:
            super()._add_placement_initializer()
            samplers = self.placement_initializer.samplers.values()
            self.displaced = {
                sampler.mujoco_objects[0].name: _widened(sampler, layout.reach)
                for sampler in samplers
                if sampler.mujoco_objects[0].name in self.objects_dict
            }

        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.constructed = False
            super().__init__(*arguments, **named)
            self.constructed = True

        def _reset_internal(self) -> None:
            from robosuite.utils.errors import RandomizationError

            # Nobody draws again in the constructor, whose scene nobody keeps.
            try:
                super()._reset_internal()
            except RandomizationError:
                if self.constructed:
                    raise
            if self.constructed and _misplaced(self, self.displaced):
                raise RandomizationError("a displaced object has no free place in view")

    # LIBERO checks that the class is named like the BDDL file's problem.
    Displaced.__name__ = problem_class.__name__
    derived: type = Displaced
    return with_obstacles(derived, _AWAY) if layout.confounds else derived


def _widened(sampler: Any, by: float) -> np.ndarray:
    """Moves the bounds of where an object's middle may be outwards (m).

    Returns:
      float64 [2]: the middle of its (first) region, horizontally (m, world frame).
    """
    radius = sampler.mujoco_objects[0].horizontal_radius
    inset = radius if sampler.ensure_object_boundary_in_range else 0.0

    def wider(low: float, high: float) -> tuple[float, float]:
        # An object wider than its region makes LIBERO draw between bounds in the wrong order.
        outwards = by if high - low >= 2 * inset else -by
        return low - outwards, high + outwards

    sampler.x_ranges = [wider(*bounds) for bounds in sampler.x_ranges]
    sampler.y_ranges = [wider(*bounds) for bounds in sampler.y_ranges]
    middle = [np.mean(sampler.x_ranges[0]), np.mean(sampler.y_ranges[0])]
    return np.asarray(middle) + sampler.reference_pos[:2]


def _misplaced(env: Any, displaced: Mapping[str, np.ndarray]) -> bool:
    """Whether one is too near a fixture or another object, or has left the camera's view.

    LIBERO's samplers keep objects apart by radii that do not always hold them, and overlook what
    stands on others. Where the middle of a region is out of view, its object may be too.
    """
    model, data = env.sim.model._model, env.sim.data._data
    mujoco.mj_kinematics(model, data)
    root = model.body_rootid[model.geom_bodyid]
    solid = (model.geom_contype | model.geom_conaffinity) > 0
    fixed = {model.body_rootid[env.obj_body_id[name]] for name in env.fixtures_dict}
    ground = {0, *(model.body(n).id for n in ("table", "floor", "main_table") if _has(model, n))}
    fixtures = solid & np.isin(root, list(fixed - ground))
    geoms = {
        name: solid & (root == model.body_rootid[env.obj_body_id[name]])
        for name in env.objects_dict
    }
    stacked = {frozenset(state[1:3]) for state in env.parsed_problem["initial_state"]}
    for one, other in itertools.combinations(env.objects_dict, 2):
        apart = {one, other} & displaced.keys() and frozenset((one, other)) not in stacked
        if apart and _gap(model, data, geoms[one], geoms[other]) < _GAP_TO_OTHERS:
            return True
    for name, middle in displaced.items():
        if _gap(model, data, geoms[name], fixtures) < _GAP_TO_FIXED:
            return True
        place = data.xpos[env.obj_body_id[name]]
        if _in_view(model, np.append(middle, place[2])) and not _in_view(model, place):
            return True
    return False


def _in_view(model: mujoco.MjModel, point: np.ndarray) -> bool:
    """Whether the agentview camera, where the model has it, sees a point (m, world frame)."""
    camera = model.camera(AGENT_CAMERA).id
    right, up, back = model.cam_mat0[camera].reshape(3, 3).T @ (point - model.cam_pos0[camera])
    edge = _VIEW * math.tan(math.radians(model.cam_fovy[camera]) / 2) * -back
    return bool(max(abs(right), abs(up)) < edge)


def _gap(model: mujoco.MjModel, data: mujoco.MjData, one: np.ndarray, other: np.ndarray) -> float:
    """Least horizontal distance (m) of the bounding boxes of geoms, bool [geoms] each."""
    if not one.any() or not other.any():
        return float("inf")
    low, high = _boxes(model, data, one)
    other_low, other_high = _boxes(model, data, other)
    apart = np.maximum(low[:, None] - other_high[None], other_low[None] - high[:, None])
    return float(np.linalg.norm(np.maximum(apart, 0.0), axis=-1).min())


def _boxes(
    model: mujoco.MjModel, data: mujoco.MjData, geoms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal bounds [geoms, 2] (m, world frame)."""
    turn = data.geom_xmat[geoms].reshape(-1, 3, 3)
    centre = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", turn, model.geom_aabb[geoms, :3])
    half = np.einsum("gij,gj->gi", np.abs(turn), model.geom_aabb[geoms, 3:])
    return (centre - half)[:, :2], (centre + half)[:, :2]


def _has(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0
