"""Watches every physics substep and reduces its contacts to records, one per pair and step."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mist_jax.record.contact import Contact
from mist_jax.simulator.contacts.attribution import Attribution, no_attribution
from mist_jax.simulator.contacts.bodies import scene_bodies
from mist_jax.simulator.contacts.forces import normal_forces
from mist_jax.simulator.contacts.goals import read_intent
from mist_jax.simulator.contacts.held_object import HeldObject
from mist_jax.simulator.contacts.pairs import (
    BOTH_ON_HELD,
    BOTH_ON_OBJECT,
    FIRST_IS_ROBOT_SIDE,
    MEANT,
    ContactPairs,
)
from mist_jax.simulator.contacts.realised_motion import RealisedMotion
from mist_jax.simulator.environment.environment import SUBSTEPS, Environment

# A contact that comes back after at most this many steps without it is the same contact.
MAX_GAP_STEPS = 2


@dataclass(frozen=True)
class _RawPoints:
    """P contact points of one substep, as MuJoCo orders their geoms."""

    substep: int  # within the control step
    kind: np.ndarray
    geoms: np.ndarray  # int [P, 2]
    force: np.ndarray
    position: np.ndarray
    axis: np.ndarray  # [P, 3], row 0 of the frame: from the first geom to the second


@dataclass(frozen=True)
class _Points:
    """P contact points between the robot side and the rest, of some substeps."""

    substep: np.ndarray  # int [P], within the control step
    kind: np.ndarray  # uint8 [P], bits of contact_pairs
    side_geom: np.ndarray  # int [P], the robot side's
    obstacle_geom: np.ndarray  # int [P]
    force: np.ndarray  # [P], N
    position: np.ndarray  # [P, 3], m
    normal: np.ndarray  # [P, 3], from the obstacle to the robot side


@dataclass(frozen=True)
class MonitorSnapshot:
    """All that a monitor's later records depend on, between two control steps.

    It is for any monitor of the same scene; see `ContactMonitor.snapshot`.
    """

    held: HeldObject
    start: np.ndarray  # [O, 3], m
    history: tuple[np.ndarray, ...]
    history_at_step: int
    last_active: dict[tuple[int, int, bool], int]


def _orient(raw: Sequence[_RawPoints]) -> _Points:
    kind = np.concatenate([each.kind for each in raw])
    geoms = np.concatenate([each.geoms for each in raw])
    axis = np.concatenate([each.axis for each in raw])
    robot_first = (kind & FIRST_IS_ROBOT_SIDE) != 0
    return _Points(
        substep=np.repeat([each.substep for each in raw], [len(each.kind) for each in raw]),
        kind=kind,
        side_geom=np.where(robot_first, geoms[:, 0], geoms[:, 1]),
        obstacle_geom=np.where(robot_first, geoms[:, 1], geoms[:, 0]),
        force=np.concatenate([each.force for each in raw]),
        position=np.concatenate([each.position for each in raw]),
        normal=np.where(robot_first[:, None], -axis, axis),
    )


class ContactMonitor:
    """Contacts of the robot side with the rest of the scene (docs/definitions.md, harmful contact).

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
        self.intent = read_intent(
            environment.model,
            self.bodies,
            environment.parsed_problem,
            environment.task.predicates,
        )
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
        self._points: list[_RawPoints] = []
        self._last_active: dict[tuple[int, int, bool], int] = {}

    def snapshot(self) -> MonitorSnapshot:
        """What it knows of the episode now, between two control steps."""
        assert not self._recording
        return MonitorSnapshot(
            copy.copy(self._held),
            self._start,
            tuple(self._history),
            self._history_at_step,
            dict(self._last_active),
        )

    def restore(self, snapshot: MonitorSnapshot) -> None:
        """Goes back to a snapshot, as the environment does to its own of the same moment."""
        self._recording = False
        self._held = copy.copy(snapshot.held)
        self._table = self._pairs.table(self._held.index)
        self._start = snapshot.start
        self._history = list(snapshot.history)
        self._history_at_step = snapshot.history_at_step
        self._points = []
        self._last_active = dict(snapshot.last_active)

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
        points = _orient(self._points)
        strong = points.force >= self._min_force
        if not strong.any():
            return ()
        body = self.bodies.geom_body
        pair = body[points.side_geom] * len(self.bodies.body_names) + body[points.obstacle_geom]
        # One number for each pair of bodies, meant or not.
        key = 2 * pair + ((points.kind & MEANT) != 0)
        return tuple(
            self._record(step, points, np.flatnonzero(key == each))
            for each in np.unique(key[strong])
        )

    def _record(self, step: int, points: _Points, rows: np.ndarray) -> Contact:
        """Reduces the `rows` of `points` that belong to one pair of bodies."""
        force = points.force[rows]
        peak = rows[np.argmax(force)]
        robot_body = int(self.bodies.geom_body[points.side_geom[peak]])
        obstacle_body = int(self.bodies.geom_body[points.obstacle_geom[peak]])
        meant = bool(points.kind[peak] & MEANT)
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
            motion=attribution.motion,
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
        kinds = self._table[contact.geom1, contact.geom2]
        hits = np.flatnonzero(kinds)
        # The contacts are those of the state before this substep's integration.
        substep = len(self._history) - 1 - self._history_at_step
        self._history.append(data.qpos.copy())
        bits = 0
        if len(hits):
            kind = kinds[hits]
            bits = int(np.bitwise_or.reduce(kind))
            force = normal_forces(self._environment.model, data, hits)
            self._points.append(
                _RawPoints(
                    substep,
                    kind,
                    contact.geom[hits],
                    force,
                    contact.pos[hits],
                    contact.frame[hits, :3],
                )
            )
        self._follow_held(bits)

    def _follow_held(self, bits: int) -> None:
        """`bits`: of all contacts of the substep together."""
        before = self._held.index
        if before >= 0:
            self._held.keep(bits & BOTH_ON_HELD == BOTH_ON_HELD)
        elif bits & BOTH_ON_OBJECT == BOTH_ON_OBJECT:
            points = _orient(self._points[-1:])
            fingers = (points.kind & BOTH_ON_OBJECT) != 0
            self._held.look_for(
                self.bodies.geom_object[points.obstacle_geom[fingers]],
                self.bodies.finger_geoms[0][points.side_geom[fingers]],
                points.force[fingers, None] * points.normal[fingers],
            )
        else:
            self._held.nothing_to_hold()
        if self._held.index != before:
            self._table = self._pairs.table(self._held.index)

    def _object_positions(self, qpos: np.ndarray) -> np.ndarray:
        return qpos[self.bodies.object_qpos[:, None] + np.arange(3)]
