"""The arm that every other is compared with."""

from mist_jax.evaluation.arms.row import ArmRow, Control
from mist_jax.record.episode import UNSTEERED
from mist_jax.rollout.acting.arm import Unsteered

NONE = ArmRow(
    name=UNSTEERED,
    what="the policy as it is",
    colour="#5b6472",
    make=lambda name, numbers: Unsteered(name),
    control=Control("the unsteered policy", "nothing can be said about any effect"),
)
