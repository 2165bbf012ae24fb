"""The axis letters of this project, declared once.

Every einsum, shape annotation and docstring uses them with these meanings only; an axis without a
letter is named by a word ("proprio", "height"). Letters side by side are one axis of their product.
Under pytest every annotation is checked on every call (tests/conftest.py).

| letter | axis |
|---|---|
| B | batch (example) |
| L | layer of the language model |
| T | token of the language model's sequence |
| S | token again: attention's keys; those that are pushed, or 1 for one push for all |
| D | width of the residual stream |
| H | attention head |
| K | width of one head |
| F | width of a feed-forward layer |
| A | action dimension (x, y, z, roll, pitch, yaw, gripper) |
| M | signed motion: an action dimension, one way (x+, x-, y+, ...) |
| E | member of an ensemble |
| W | window of control steps ahead |
| C | step within an action chunk |
| I | image (camera view) |
| P | image patch |
| R | role of a token |
| V | direction of a steering bank |
| N | control step of an episode |
| Q | policy query of an episode |
| O | object of the scene |
"""

from typing import TYPE_CHECKING

from jaxtyping import Bool, Float, Int, UInt8

if TYPE_CHECKING:
    from jax import Array

__all__ = ["ACTION_DIMENSIONS", "SIGNED_MOTIONS", "Array", "Bool", "Float", "Int", "UInt8"]

ACTION_DIMENSIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
SIGNED_MOTIONS = tuple(f"{name}{sign}" for name in ACTION_DIMENSIONS for sign in "+-")


def __getattr__(name: str):  # simulator workers need the axes without paying for JAX
    if name != "Array":
        raise AttributeError(f"module 'mist_jax.axes' has no attribute {name!r}")
    from jax import Array

    return Array
