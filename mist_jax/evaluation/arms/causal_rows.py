"""The arms that push towards a wanted change of the action, and what they are judged by."""

from functools import partial

from mist_jax.evaluation.arms.causal_arm import CausalArm, flipped, turned
from mist_jax.evaluation.arms.push_specs import EXACT, LINEAR, MIST, NOISE, PERMUTED
from mist_jax.evaluation.arms.row import ArmRow, Control
from mist_jax.record.episode import UNSTEERED

PLACEBO = ArmRow(
    name="placebo",
    what="as mist, with what is wanted turned at random, once an episode: same gate, same size",
    colour="#a0aec0",
    make=partial(CausalArm, turning=turned),
    needs=("risk", "causal"),
    pushes=(MIST,),
    control=Control(
        "placebo pushes",
        "an effect could come from any push of this size, not from its direction",
    ),
    dose_of="mist",
)
CONTROLS = (UNSTEERED, PLACEBO.name)

ACTION_EDIT = ArmRow(
    name="action_edit",
    what="what mist wants, added to the actions: no activation is touched",
    colour="#3b6ea5",
    make=partial(CausalArm, applied=0.0),
    needs=("risk", "causal"),
    pushes=(MIST,),
    compared_with=CONTROLS,
    dose_of="mist",
)
NOISE_ARM = ArmRow(
    name="noise",
    what="as mist, along random activations, as large as should change the action as far",
    colour="#c3b1a0",
    make=partial(CausalArm, push=NOISE, noisy=True),
    needs=("risk", "causal"),
    pushes=(NOISE,),
    dose_of="mist",
)
FLIPPED = ArmRow(
    name="flipped",
    what="as mist, the other way",
    colour="#be185d",
    make=partial(CausalArm, turning=flipped),
    needs=("risk", "causal"),
    pushes=(MIST,),
    dose_of="mist",
)
PERMUTED_ARM = ArmRow(
    name="permuted",
    what="as mist, wanting what outcomes that were shuffled within tasks teach",
    colour="#9d8fb5",
    make=partial(CausalArm, push=PERMUTED),
    needs=("risk", "causal"),
    pushes=(PERMUTED,),
    dose_of="mist",
)


MIST_ARM = ArmRow(
    name="mist",
    what="at an alarm, the least push that changes the action as is wanted",
    colour="#0f766e",
    make=CausalArm,
    needs=("risk", "causal"),
    pushes=(MIST,),
    compared_with=CONTROLS,
)
MIST_LINEAR = ArmRow(
    name="mist_linear",
    what="as mist, by a Jacobian that follows the activations",
    colour="#7ab8a0",
    make=partial(CausalArm, push=LINEAR),
    needs=("risk", "causal"),
    pushes=(LINEAR,),
    compared_with=CONTROLS,
    dose_of="mist",
)
MIST_EXACT = ArmRow(
    name="mist_exact",
    what="as mist, by the Jacobian at the query's own inputs: a second pass and more",
    colour="#14532d",
    make=partial(CausalArm, push=EXACT),
    needs=("risk", "causal"),
    pushes=(EXACT,),
    compared_with=CONTROLS,
    dose_of="mist",
)
