"""Arms that push along the bank's directions, and the random push that they are judged by."""

from functools import partial

from mist_jax.evaluation.arms.recipe_arm import Recipe, RecipeArm
from mist_jax.evaluation.arms.row import ArmRow, Control
from mist_jax.record.episode import UNSTEERED

RANDOM = ArmRow(
    name="random",
    what="as mist, with the bank turned by a random rotation: same gate, same norms",
    colour="#a0aec0",
    make=partial(RecipeArm, Recipe(push="random")),
    needs=("risk", "bank"),
    control=Control(
        "random pushes",
        "an effect could come from any push of this size, not from these directions",
    ),
    turned=True,
)
_CONTROLS = (UNSTEERED, RANDOM.name)
RANDOM_TIMES = ArmRow(
    name="random_times",
    what="as mist, at random times instead of alarms, at the given rate",
    colour="#5fa8d3",
    make=partial(RecipeArm, Recipe(push="bank", when="random")),
    needs=("bank", "rate"),
    compared_with=_CONTROLS,
)
MIST_UNGATED = ArmRow(
    name="mist_ungated",
    what="as mist, at every query",
    colour="#7ab8a0",
    make=partial(RecipeArm, Recipe(push="bank", when="always")),
    needs=("bank",),
    compared_with=_CONTROLS,
)
MIST = ArmRow(
    name="mist",
    what="at the alarm of a motion one way, a push away from its harm",
    colour="#0f766e",
    make=partial(RecipeArm, Recipe(push="bank")),
    needs=("risk", "bank"),
    compared_with=_CONTROLS,
)
