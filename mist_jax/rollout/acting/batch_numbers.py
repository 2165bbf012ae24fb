"""The numbers of a batch's rows, put into the operators that all rows share.

Only values change, never a shape or a dtype: the forward is traced once whatever the arms say.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.noise import NoiseMap
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.intent.braked import Braked
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intent.sampled_value import SampledValue
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.intervention.steering import Steering
from mist_jax.rollout.acting.arm import Arm, PushNumbers
from mist_jax.rollout.acting.release import AlarmsSoFar
from mist_jax.rollout.episode_spec import Turn


@dataclass(frozen=True)
class Row:
    """What one example of a batch gets; `idle_row` leaves it alone.

    `threshold` is float32 [M], `coefficient` [V] or None, `strength` that of each conceptor or
    None, `table` the row of tables of Jacobians.
    """

    threshold: np.ndarray
    shrink: float
    coefficient: np.ndarray | None
    pushes: Mapping[str, PushNumbers]
    table: int
    strength: np.ndarray | None = None


def idle_row() -> Row:
    """Numbers under which an example is the unsteered model's, bit for bit."""
    return Row(np.full(len(SIGNED_MOTIONS), np.inf, np.float32), 0.0, None, {}, 0)


def row_of(
    arm: Arm, turn: Turn, query: int, table: int, names: Mapping[str, Any], so_far: AlarmsSoFar
) -> Row:
    """What `arm` does to this query; `names` are the pushes that there are.

    `so_far` are the alarms of the episode's queries before. Where the arm has let go, only its
    threshold is left, by which the end of the alarm is known.

    Raises:
        UserError: the arm uses a push that the controller does not have.
    """
    threshold = arm.release.threshold(arm.threshold, so_far)
    if arm.release.lets_go(so_far):
        return dataclasses.replace(idle_row(), threshold=threshold)
    pushes = arm.pushes(turn, query)
    lacking = [name for name in pushes if name not in names]
    if lacking:
        raise UserError(
            f"the arm {arm.name!r} uses a push {lacking[0]!r}; the controller has "
            f"{', '.join(names) or 'none'}"
        )
    coefficient, strength = arm.coefficient(turn, query), arm.strength(turn, query)
    return Row(threshold, arm.shrink, coefficient, pushes, table, strength)


def steering_of(shared: Steering, rows: Sequence[Row]) -> Steering:
    """`shared` with each row's coefficients, thresholds and shrinkage."""
    nothing = np.zeros(shared.vectors.shape[0], np.float32)
    strength = [nothing if row.coefficient is None else row.coefficient for row in rows]
    return dataclasses.replace(
        shared,
        coefficient=_floats(strength),
        gate=_gate_of(shared.gate, rows),
        shrink=_floats([row.shrink for row in rows]),
    )


def conceptor_of(shared: Conceptor, rows: Sequence[Row]) -> Conceptor:
    """`shared` with each row's strengths and thresholds."""
    nothing = np.zeros(shared.strength.shape[1], np.float32)
    strength = [nothing if row.strength is None else row.strength for row in rows]
    return dataclasses.replace(shared, strength=_floats(strength), gate=_gate_of(shared.gate, rows))


def push_of(
    shared: CausalPush, name: str, rows: Sequence[Row], jacobian: np.ndarray | None = None
) -> CausalPush:
    """The push `name` with each row's numbers; zeros where a row does not use it.

    `jacobian` float32 [B, A, S, D] takes the place of an exact push's table.
    """
    dims = shared.transform.shape[-1]
    numbers = [row.pushes.get(name) for row in rows]
    still = np.zeros((dims, dims), np.float32)
    return dataclasses.replace(
        shared,
        action_map=_map_of(shared.action_map, numbers, [row.table for row in rows], jacobian),
        intent=_intent_of(shared.intent, numbers),
        transform=_floats([still if one is None else one.transform for one in numbers]),
        applied=_floats([0.0 if one is None else one.applied for one in numbers]),
        gate=_gate_of(shared.gate, rows),
    )


def _intent_of(shared: Any, numbers: Sequence[PushNumbers | None]) -> Any:
    """What a given intent wants, and what a sampled one chooses among; zeros for idle rows."""
    if isinstance(shared, Braked):
        return dataclasses.replace(shared, base=_intent_of(shared.base, numbers))
    if isinstance(shared, Given):
        nothing = np.zeros(shared.change.shape[1:], np.float32)
        change = [nothing if one is None or one.change is None else one.change for one in numbers]
        return dataclasses.replace(shared, change=_floats(change))
    if isinstance(shared, SampledValue):
        none = np.zeros(shared.candidates.shape[1:], np.float32)
        drawn = [
            none if one is None or one.candidates is None else one.candidates for one in numbers
        ]
        return dataclasses.replace(shared, candidates=_floats(drawn))
    return shared


def _map_of(
    shared: Any,
    numbers: Sequence[PushNumbers | None],
    table: Sequence[int],
    jacobian: np.ndarray | None,
) -> Any:
    if isinstance(shared, NoiseMap):
        silence = np.zeros(shared.noise.shape[1:], np.float32)
        noise = [silence if one is None or one.noise is None else one.noise for one in numbers]
        inner = _map_of(shared.of_map, numbers, table, jacobian)
        return dataclasses.replace(shared, of_map=inner, noise=_floats(noise))
    if not isinstance(shared, TableMap):
        return shared
    if jacobian is None:
        return dataclasses.replace(shared, row=jnp.asarray(table, jnp.int32))
    own = jnp.arange(len(numbers), dtype=jnp.int32)
    return dataclasses.replace(shared, table=_floats(jacobian), row=own)


def _gate_of(shared: Any, rows: Sequence[Row]) -> Any:
    """A gate with thresholds gets each row's; another rule stays as it is."""
    if not isinstance(shared, ThresholdGate):
        return shared
    return dataclasses.replace(shared, threshold=_floats([row.threshold for row in rows]))


def _floats(values: Any) -> jnp.ndarray:
    return jnp.asarray(np.asarray(values, np.float32))
