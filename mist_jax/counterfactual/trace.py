"""Digests of what an episode was: whether a branch really begins where, and goes on as, it did."""

import hashlib

import numpy as np

from mist_jax.record.episode import Episode

_STATE = ("eef_pos", "eef_quat", "gripper_qpos", "joint_pos", "object_pose")


def trace(episode: Episode, until: int | None = None) -> str:
    """Digest of states, actions and contacts, bit for bit: of the whole, or before a step.

    With `until`, the state that this control step begins with counts too.
    """
    steps, digest = episode.steps, hashlib.sha256()
    for name in _STATE:
        states = getattr(steps, name)[: None if until is None else until + 1]
        digest.update(np.ascontiguousarray(states, np.float32).tobytes())
    digest.update(np.ascontiguousarray(steps.action[:until], np.float32).tobytes())
    for contact in sorted(episode.contacts, key=lambda contact: contact.step):
        if until is not None and contact.step >= until:
            continue
        pair = f"{contact.step}/{contact.robot_body}/{contact.obstacle_body}"
        digest.update(f"{pair}/{contact.harmful}/{contact.onset}".encode())
        numbers = (contact.peak_force, *contact.position, *contact.normal, *contact.share)
        digest.update(np.asarray(numbers, np.float32).tobytes())
    if until is None:
        digest.update(episode.outcome.encode())
    return digest.hexdigest()
