"""Watches every physics substep and reduces its contacts to records, one per pair and step."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from mist_jax.episodes.record import Contact
from mist_jax.simulator.attribution import Attribution, no_attribution
from mist_jax.simulator.bodies import scene_bodies
from mist_jax.simulator.contact_forces import normal_forces
from mist_jax.simulator.contact_pairs import (
    FINGER_ON_OBJECT,
    FIRST_IS_ROBOT_SIDE,
    MEANT,
    ContactPairs,
)
from mist_jax.simulator.environment import SUBSTEPS, Environment
from mist_jax.simulator.goals import read_intent
from mist_jax.simulator.held_object import HeldObject
from mist_jax.simulator.realised_motion import RealisedMotion

# A contact that comes back after at most this many steps without it is the same contact.
MAX_GAP_STEPS = 2


@dataclass(frozen=True)
class _Points:
    """P contact points of the robot side, of one substep or of a whole control step."""

    substep: np.ndarray  # int [P], within the control step
    kind: np.ndarray  # uint8 [P], bits of contact_pairs
    side_geom: np.ndarray  # int [P], the robot side's
    obstacle_geom: np.ndarray  # int [P]
    force: np.ndarray  # [P], N
    position: np.ndarray  # [P, 3], m
    normal: np.ndarray  # [P, 3], from the obstacle to the robot side


class ContactMonitor:
    """Contacts of the robot side with the rest of the scene (DESIGN section 5).

    Use: `begin_episode()` after the environment's reset, then around each control step
    `begin_step()` and `end_step(step)`. Between those two it sees every physics substep; outside
    them (settling, lookahead with snapshots) it sees nothing.

    A record is made for each pair of bodies of which some MuJoCo contact reached `min_force` in
    some substep of the step. Force, position and normal are of the strongest single contact; the
    impulse sums all contacts of the pair over the step.

    Attributes:
      object_names: the movable objects, O of them.
      intent: the contacts that the task means to happen.
    """

    def __init__(self, environment: Environment, *, min_force: float = 1.0):
        self._environment = environment
        self._min_force = min_force
        self.bodies = scene_bodies(environment)
        self.intent = read_intent(environment.model, self.bodies, environment.parsed_problem)
        self.object_names = self.bodies.object_names
        self._pairs = ContactPairs(self.bodies, self.intent)
        self._motion = RealisedMotion(environment.model, self.bodies)
        self._recording = False
        self.begin_episode()
        environment.substep_observers.append(self._observe)

    @property
    def grasped(self) -> int:
        """Index into `object_names` of the object now held, -1 for none."""
        return self._held.index

    def begin_episode(self) -> None:
        """Forgets the last episode; objects are where they stand now."""
        qpos = self._environment.data.qpos.copy()
        self._recording = False
        self._held = HeldObject()
        self._table = self._pairs.table(-1)
        self._start = self._object_positions(qpos)
        # Joint positions after each substep, the last control step and this one.
        self._history = [qpos]
        self._history_at_step = 0
        self._points: list[_Points] = []
        self._last_active: dict[tuple[int, int, bool], int] = {}

    def displacement(self) -> Float[np.ndarray, "O"]:
        """How far (m, float32) each object is from where it stood at the episode's start."""
        now = self._object_positions(self._environment.data.qpos)
        return np.linalg.norm(now - self._start, axis=-1).astype(np.float32)

    def begin_step(self) -> None:
        """Call before the control step's physics."""
        self._history = self._history[-(SUBSTEPS + 1) :]
        self._history_at_step = len(self._history) - 1
        self._points = []
        self._recording = True

    def end_step(self, step: int) -> tuple[Contact, ...]:
        """Call after the control step's physics.

        Args:
          step: index of the control step.

        Returns:
          One record per pair of bodies that touched with at least `min_force`.
        """
        self._recording = False
        if not self._points:
            return ()
        points = _Points(
            **{
                each.name: np.concatenate([getattr(one, each.name) for one in self._points])
                for each in fields(_Points)
            }
        )
        body = self.bodies.geom_body
        keys = np.stack(
            [body[points.side_geom], body[points.obstacle_geom], points.kind & MEANT], axis=1
        )
        return tuple(
            self._record(step, key, points, np.flatnonzero((keys == key).all(axis=1)))
            for key in np.unique(keys[points.force >= self._min_force], axis=0)
        )

    def _record(self, step: int, key: np.ndarray, points: _Points, rows: np.ndarray) -> Contact:
        """Reduces the `rows` of `points` that belong to one pair of bodies."""
        robot_body, obstacle_body, meant = int(key[0]), int(key[1]), bool(key[2])
        force = points.force[rows]
        peak = rows[np.argmax(force)]
        last = self._last_active.get((robot_body, obstacle_body, meant))
        self._last_active[robot_body, obstacle_body, meant] = step
        onset = last is None or step - last > MAX_GAP_STEPS + 1
        if onset:
            strong = rows[force >= self._min_force]
            first = strong[points.substep[strong] == points.substep[strong[0]]]
            attribution = self._attribute(robot_body, points, first[np.argmax(points.force[first])])
        else:
            attribution = no_attribution()
        return Contact(
            step=step,
            robot_body=self.bodies.body_names[robot_body],
            obstacle_body=self.bodies.body_names[obstacle_body],
            grasped=not self.bodies.robot_geom[points.side_geom[peak]],
            harmful=not meant,
            onset=onset,
            peak_force=float(points.force[peak]),
            impulse=float(force.sum() * self._environment.model.opt.timestep),
            position=points.position[peak],
            normal=points.normal[peak],
            share=attribution.share,
            velocity=attribution.velocity,
            residual=attribution.residual,
        )

    def _attribute(self, robot_body: int, points: _Points, row: int) -> Attribution:
        at = self._history_at_step + int(points.substep[row])
        since = max(0, at - SUBSTEPS)
        return self._motion.attribute(
            self._history[since],
            self._history[at],
            (at - since) * self._environment.model.opt.timestep,
            robot_body,
            points.position[row],
            points.normal[row],
        )

    def _observe(self) -> None:
        if not self._recording:
            return
        data = self._environment.data
        contact = data.contact
        first, second = contact.geom1, contact.geom2
        kinds = self._table[first, second]
        hits = np.flatnonzero(kinds)
        # The contacts are those of the state before this substep's integration.
        substep = len(self._history) - 1 - self._history_at_step
        self._history.append(data.qpos.copy())
        if not len(hits):
            self._touched_nothing()
            return
        kind, force = kinds[hits], normal_forces(self._environment.model, data, hits)
        # Row 0 of the frame points from the first geom to the second.
        is_first = (kind & FIRST_IS_ROBOT_SIDE) != 0
        points = _Points(
            substep=np.full(len(hits), substep),
            kind=kind,
            side_geom=np.where(is_first, first[hits], second[hits]),
            obstacle_geom=np.where(is_first, second[hits], first[hits]),
            force=force,
            position=contact.pos[hits],
            normal=contact.frame[hits, :3] * np.where(is_first, -1.0, 1.0)[:, None],
        )
        self._points.append(points)
        self._follow_held(points)

    def _touched_nothing(self) -> None:
        self._held.nothing_touched()
        self._table = self._pairs.table(self._held.index)

    def _follow_held(self, points: _Points) -> None:
        fingers = (points.kind & FINGER_ON_OBJECT) != 0
        if not fingers.any():
            self._touched_nothing()
            return
        side = points.side_geom[fingers]
        self._held.update(
            self.bodies.geom_object[points.obstacle_geom[fingers]],
            self.bodies.finger_geoms[0][side],
            points.force[fingers, None] * points.normal[fingers],
        )
        self._table = self._pairs.table(self._held.index)

    def _object_positions(self, qpos: np.ndarray) -> np.ndarray:
        return qpos[self.bodies.object_qpos[:, None] + np.arange(3)]
