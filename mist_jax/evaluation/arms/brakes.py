"""Arms without directions: at an alarm the motion, or the residual stream, is scaled down."""

from functools import partial

from mist_jax.evaluation.arms.recipe_arm import Recipe, RecipeArm
from mist_jax.evaluation.arms.row import ArmRow

SAFE_STOP = ArmRow(
    name="safe_stop",
    what="at an alarm the arm stands still for the chunk, the gripper goes on",
    colour="#b45309",
    make=partial(RecipeArm, Recipe(keep=0.0)),
    needs=("risk",),
)
SLOW_DOWN = ArmRow(
    name="slow_down",
    what="at an alarm translation and rotation are halved",
    colour="#d4a017",
    make=partial(RecipeArm, Recipe(keep=0.5)),
    needs=("risk",),
)
SHRINK = ArmRow(
    name="shrink",
    what="at an alarm the residual stream is scaled by 0.9",
    colour="#7c5cbf",
    make=partial(RecipeArm, Recipe(shrink=0.1)),
    needs=("risk",),
)
