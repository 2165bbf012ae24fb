"""Which geom belongs to what: robot, fingers, objects, rigid parts; by ids, never by words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from jaxtyping import Bool, Int

if TYPE_CHECKING:
    from mist_jax.simulator.environment.environment import Environment


@dataclass(frozen=True)
class SceneBodies:
    """Lookup tables of one scene; G geoms, M bodies, O movable objects.

    `rigid_part` names, for every body, the topmost body it moves as one with inside its own
    model: a drawer and its handle are one part, the cabinet around it another. Unlike MuJoCo's
    `body_weldid` it tells a table from the world that both are fixed to.
    """

    geom_body: Int[np.ndarray, "geoms"]
    geom_object: Int[np.ndarray, "geoms"]  # index into object_names, -1 for none
    robot_geom: Bool[np.ndarray, "geoms"]  # any geom of the robot, its gripper or its mount
    moving_robot_geom: Bool[np.ndarray, "geoms"]  # the same without the links bolted to the world
    finger_geoms: tuple[Bool[np.ndarray, "geoms"], ...]  # per finger, its mesh and its pad
    body_names: tuple[str, ...]
    rigid_part: Int[np.ndarray, "bodies"]
    object_names: tuple[str, ...]
    object_body: Int[np.ndarray, "O"]
    object_qpos: Int[np.ndarray, "O"]  # address of the free joint's position in qpos
    fixture_body: dict[str, int]
    eef_site: int
    arm_dofs: Int[np.ndarray, "7"]
    finger_bodies: tuple[int, ...]  # the bodies that the gripper's joints move
    gripper_bodies: frozenset[int]  # bodies that move as one with the end effector, or are fingers

    def bodies_of_part(self, body: int) -> frozenset[int]:
        """The bodies that move as one with `body`."""
        return frozenset(np.flatnonzero(self.rigid_part == self.rigid_part[body]).tolist())


def scene_bodies(environment: "Environment") -> SceneBodies:
    """Reads the tables off a built scene."""
    model, env = environment.model, environment.robosuite_env
    robot = env.robots[0]
    object_names = tuple(item.name for item in env.objects)
    object_body = np.array([env.obj_body_id[name] for name in object_names], dtype=np.intp)
    geom_body = np.array(model.geom_bodyid, dtype=np.intp)

    body_object = np.full(model.nbody, -1, dtype=np.intp)
    for index, body in enumerate(object_body):
        body_object[_subtree(model, int(body))] = index
    robot_body = np.zeros(model.nbody, dtype=bool)
    robot_root = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, robot.robot_model.root_body)
    robot_body[_subtree(model, robot_root)] = True
    moving = robot_body & (np.array(model.body_weldid) != 0)

    rigid_part = _rigid_parts(model)
    eef_site = int(robot.eef_site_id)
    eef_part = rigid_part[model.site_bodyid[eef_site]]
    finger_joints = np.flatnonzero(np.isin(model.jnt_dofadr, robot._ref_gripper_joint_vel_indexes))
    finger_bodies = tuple(int(body) for body in model.jnt_bodyid[finger_joints])
    gripper = np.isin(rigid_part, [eef_part, *rigid_part[list(finger_bodies)]])
    return SceneBodies(
        geom_body=geom_body,
        geom_object=body_object[geom_body],
        robot_geom=robot_body[geom_body],
        moving_robot_geom=moving[geom_body],
        finger_geoms=tuple(rigid_part[geom_body] == body for body in finger_bodies),
        body_names=tuple(model.body(body).name for body in range(model.nbody)),
        rigid_part=rigid_part,
        object_names=object_names,
        object_body=object_body,
        object_qpos=np.array(
            [model.jnt_qposadr[model.body_jntadr[body]] for body in object_body], dtype=np.intp
        ),
        fixture_body={item.name: int(env.obj_body_id[item.name]) for item in env.fixtures},
        eef_site=eef_site,
        arm_dofs=np.array(robot._ref_joint_vel_indexes, dtype=np.intp),
        finger_bodies=finger_bodies,
        gripper_bodies=frozenset(np.flatnonzero(gripper).tolist()),
    )


def _subtree(model: mujoco.MjModel, root: int) -> np.ndarray:
    inside = np.zeros(model.nbody, dtype=bool)
    inside[root] = True
    # Parents come before their children.
    for body in range(root + 1, model.nbody):
        inside[body] = inside[model.body_parentid[body]]
    return np.flatnonzero(inside)


def _rigid_parts(model: mujoco.MjModel) -> np.ndarray:
    part = np.arange(model.nbody, dtype=np.intp)
    for body in range(1, model.nbody):
        parent = model.body_parentid[body]
        if parent != 0 and model.body_jntnum[body] == 0:
            part[body] = part[parent]
    return part
