"""What acts in a query that is timed: nothing, a reader, steering of either kind."""

import jax
import numpy as np

from mist_jax.benchmark.mode_names import SteeringMode
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.steering import Steering
from mist_jax.policy.model import PolicyModel
from mist_jax.signed import MOTIONS

READ = ("llm.resid", "llm.resid:image", "llm.resid:steps", "llm.lens")
_MEMBERS = 5  # of the heads that are timed: an ensemble over five folds
_JACOBIANS = 40  # ten tasks, four phases


def intervention_of(
    model: PolicyModel, place: str, batch: int, steering: SteeringMode
) -> Intervention | None:
    """What acts on `batch` examples, steering at `place`.

    `none` is the model alone; `read` also has a risk head forecast from all of `READ` that the
    model has; `off` takes steering that is zero; `on` also reads the risk and steers every example
    at every layer; `causal` reads the risk at one site and pushes every example at one layer, each
    token its own way, by Jacobians of ten tasks in four phases.
    """
    layers, width = model.sites[place].layers, model.sites[place].width
    if steering == "none":
        return None
    names = [name for name in READ if name in model.sites] if steering == "read" else []
    read = {name: model.sites[name].width for name in names or (place,)}
    head = RiskHead.initial(
        jax.random.key(0), sites=read, layer=layers // 3, layers=layers // 3 + 1, members=_MEMBERS
    ).pin()
    if steering == "read":
        return Intervention.of(head, memory=head.no_memory(batch))
    if steering == "off":
        zero = Steering.of(np.zeros((1, layers, width)), np.zeros((batch, 1)), site=place)
        return Intervention.of(head.switched_off(), zero, memory=head.no_memory(batch))
    if steering == "causal":
        return Intervention.of(
            head, _causal_push(model, place, batch), memory=head.no_memory(batch)
        )
    vectors = np.random.default_rng(1).standard_normal((1, layers, width)) * width**-0.5
    push = Steering.of(vectors, np.ones((batch, 1)), site=place)
    return Intervention.of(head, push, memory=head.no_memory(batch))


def _causal_push(model: PolicyModel, place: str, batch: int) -> CausalPush:
    """Against every second motion, at the layer after the one at which the risk is known."""
    layers, width, dims = model.sites[place].layers, model.sites[place].width, model.action_dim
    shape = (_JACOBIANS, dims, model.chunk * dims, width)
    table = np.random.default_rng(1).standard_normal(shape, np.float32)
    return CausalPush.of(
        TableMap.of(table, np.arange(batch) % _JACOBIANS),
        AgainstMotion.of(np.full(dims, 0.1)),
        np.broadcast_to(np.eye(dims), (batch, dims, dims)),
        np.eye(layers)[min(layers // 3 + 1, layers - 1)],
        gate=ThresholdGate.of(np.where(np.arange(MOTIONS) % 2, 2.0, -1.0), np.eye(MOTIONS), batch),
        site=place,
        pin=True,
    )
