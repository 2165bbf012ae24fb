"""Which geom pairs matter, and whether their contact is meant (docs/definitions.md)."""

import numpy as np
from jaxtyping import UInt8

from mist_jax.simulator.contacts.bodies import SceneBodies
from mist_jax.simulator.contacts.goals import Intent

# Bits of a pair's class; 0 is a pair that no contact record is made of.
RECORDED = 1
MEANT = 2
FIRST_IS_ROBOT_SIDE = 4
FINGERS_ON_OBJECT = (8, 16)  # one bit for each finger
FINGERS_ON_HELD = (32, 64)
BOTH_ON_OBJECT, BOTH_ON_HELD = sum(FINGERS_ON_OBJECT), sum(FINGERS_ON_HELD)


class ContactPairs:
    """Classes of geom pairs, one table for each object that may be held.

    The robot side is a moving link of the robot (its base and mount cannot hit anything) or a
    geom of the held object. Where both geoms qualify, the robot's own geom is the robot side and
    the object the obstacle; the robot touching itself is not recorded.

    Meant are: fingers on an object to move; the held object on a place of its own (its start
    support or its goal); anything of the robot side on a part to operate. A finger is meant as a
    whole: the collision mesh is the finger's convex hull, which encloses the face of the pad, so
    that every clean grasp presses with it too. The palm and the arm are never meant there.
    """

    def __init__(self, bodies: SceneBodies, intent: Intent):
        self._bodies = bodies
        self._intent = intent
        self._tables: dict[int, np.ndarray] = {}

    def table(self, held: int) -> UInt8[np.ndarray, "geoms geoms"]:
        """Classes of all pairs while object `held` (-1: none) is in the gripper."""
        if held not in self._tables:
            self._tables[held] = self._build(held)
        return self._tables[held]

    def _build(self, held: int) -> np.ndarray:
        bodies, intent = self._bodies, self._intent
        robot, moving = bodies.robot_geom, bodies.moving_robot_geom
        held_geom = (bodies.geom_object == held) & (held >= 0)
        finger = np.logical_or.reduce(bodies.finger_geoms)
        to_move = np.isin(bodies.geom_body, list(intent.to_move))
        operate = np.isin(bodies.geom_body, list(intent.operate))
        place = np.isin(bodies.geom_body, list(intent.places[held]) if held >= 0 else [])

        # Rows are the robot side, columns the obstacle.
        side = np.outer(moving, ~robot) | np.outer(held_geom, ~moving & ~held_geom)
        meant = np.outer(finger, to_move) | np.outer(held_geom, place) | operate[None, :]

        table = np.where(side, RECORDED | FIRST_IS_ROBOT_SIDE, 0).astype(np.uint8)
        table[side & meant] |= MEANT
        for each, on_object, on_held in zip(
            bodies.finger_geoms, FINGERS_ON_OBJECT, FINGERS_ON_HELD, strict=True
        ):
            table[np.outer(each, bodies.geom_object >= 0)] |= on_object
            table[np.outer(each, held_geom)] |= on_held
        other = table.T & ~np.uint8(FIRST_IS_ROBOT_SIDE)
        return np.where(side, table, other)
