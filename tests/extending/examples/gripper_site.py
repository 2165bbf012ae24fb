"""A site of one's own: the action tokens that become the gripper's dimension.

    collect_failure_data --extensions=gripper_site --sites=llm.resid:gripper ...

A risk head trained with --sites=llm.resid:gripper then reads it inside the forward.
"""

import jax.numpy as jnp

from mist_jax.policy.openvla_oft.token_groups import TokenGroup


def gripper(layout, config):
    """Places [B, C] in the sequence: the last of each step's tokens."""
    steps = jnp.arange(config.chunk) * config.action_dim
    return layout.readout[:, None] + config.action_dim - 1 + steps


TOKEN_GROUPS = (TokenGroup("gripper", "tokens that become the gripper's dimension", gripper),)
