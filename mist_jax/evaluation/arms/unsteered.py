"""The arm that every other is compared with."""

from functools import partial

from mist_jax.evaluation.arms.recipe_arm import Recipe, RecipeArm
from mist_jax.evaluation.arms.row import UNSTEERED, ArmRow, Control

NONE = ArmRow(
    name=UNSTEERED,
    what="the policy as it is",
    colour="#5b6472",
    make=partial(RecipeArm, Recipe()),
    control=Control("the unsteered policy", "nothing can be said about any effect"),
)
