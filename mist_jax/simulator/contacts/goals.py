"""What a task's BDDL goal asks the robot to move, as MuJoCo body ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from mist_jax.simulator.contacts.bodies import SceneBodies
from mist_jax.simulator.libero.suite import Predicates

_LIBERO = Predicates()


@dataclass(frozen=True)
class Intent:
    """The contacts that a task means to happen.

    Attributes:
      to_move: bodies of the objects that the goal puts somewhere: fingers may touch them.
      places: for each object (index into `SceneBodies.object_names`), the bodies it may touch
        while it is held: what it rests on at the start and, if the goal moves it, its goal.
      operate: bodies of the fixtures' parts that the goal has the robot move.
    """

    to_move: frozenset[int]
    places: tuple[frozenset[int], ...]
    operate: frozenset[int]


def read_intent(
    model: mujoco.MjModel,
    bodies: SceneBodies,
    parsed_problem: Mapping[str, list],
    predicates: Predicates = _LIBERO,
) -> Intent:
    """Derives the intent from LIBERO's parsed BDDL.

    `on A B` and `in A B` make A an object to move and B its goal; in the initial state they make
    B what A rests on. B is an object, a fixture or a region; a region stands for the rigid part
    of the scene that its site is fixed to (one drawer, the stove without its knob, the table).
    `open`, `close`, `turnon` and `turnoff` name a part to operate: the jointed part that a region
    lies in, or every jointed part of a fixture. A goal region inside a jointed part of a fixture
    is one too: the task "open the top drawer and put the bowl inside" states only where the bowl
    ends. `predicates` says which words of a suite mean the one and which the other.

    Raises:
      ValueError: the goal has a predicate or a name that is not known.
    """
    resolver = _Resolver(model, bodies)
    places: list[set[int]] = [set() for _ in bodies.object_names]
    for state in parsed_problem["initial_state"]:
        if state[0] in predicates.places and state[1] in bodies.object_names:
            places[bodies.object_names.index(state[1])] |= resolver.surface(state[2])

    to_move: set[int] = set()
    operate: set[int] = set()
    for state in parsed_problem["goal_state"]:
        predicate, subject = state[0], state[1]
        if predicate in predicates.places and subject in bodies.object_names:
            index = bodies.object_names.index(subject)
            to_move |= bodies.bodies_of_part(int(bodies.object_body[index]))
            goal = resolver.surface(state[2])
            places[index] |= goal
            operate |= resolver.jointed(goal)
        elif predicate in predicates.operates:
            operate |= resolver.operated(subject)
        else:
            raise ValueError(f"the goal {state} is not understood")
    return Intent(frozenset(to_move), tuple(map(frozenset, places)), frozenset(operate))


class _Resolver:
    """BDDL names to body ids."""

    def __init__(self, model: mujoco.MjModel, bodies: SceneBodies):
        self._model = model
        self._bodies = bodies
        self._sites = {model.site(site).name: site for site in range(model.nsite)}

    def surface(self, name: str) -> set[int]:
        """Bodies of the object, the fixture, or the rigid part that a region is fixed to."""
        if name in self._sites:
            return set(self._bodies.bodies_of_part(self._model.site_bodyid[self._sites[name]]))
        return self._tree(name)

    def operated(self, name: str) -> set[int]:
        return self.jointed(self.surface(name))

    def jointed(self, bodies: Iterable[int]) -> set[int]:
        """Those of `bodies` that a hinge or slide moves: parts of fixtures, not free objects."""
        return {body for body in bodies if self._is_jointed(self._bodies.rigid_part[body])}

    def _is_jointed(self, part: int) -> bool:
        free = part in self._bodies.object_body
        return bool(self._model.body_jntnum[part]) and not free

    def _tree(self, name: str) -> set[int]:
        if name in self._bodies.object_names:
            root = int(self._bodies.object_body[self._bodies.object_names.index(name)])
        elif name in self._bodies.fixture_body:
            root = self._bodies.fixture_body[name]
        else:
            raise ValueError(f"the BDDL names {name}, which is not in the scene")
        return set(np.flatnonzero(np.array(self._model.body_rootid) == root).tolist())
