"""What an episode was: whether a branch really begins where, and goes on as, it did."""

import hashlib

import numpy as np

from mist_jax.record.episode import Episode

_STATE = ("eef_pos", "eef_quat", "gripper_qpos", "joint_pos", "object_pose")


def state_at(episode: Episode, step: int) -> np.ndarray:
    """Poses before a control step, float32: m, rad and parts of quaternions, end to end."""
    return np.concatenate([np.ravel(getattr(episode.steps, name)[step]) for name in _STATE])


def trace(episode: Episode) -> str:
    """Digest of states, actions, contacts and outcome: equal where they are, bit for bit."""
    steps, digest = episode.steps, hashlib.sha256()
    for name in (*_STATE, "action"):
        digest.update(np.ascontiguousarray(getattr(steps, name), np.float32).tobytes())
    for contact in sorted(episode.contacts, key=lambda contact: contact.step):
        pair = f"{contact.step}/{contact.robot_body}/{contact.obstacle_body}"
        digest.update(f"{pair}/{contact.harmful}/{contact.onset}".encode())
        numbers = (contact.peak_force, *contact.position, *contact.normal, *contact.share)
        digest.update(np.asarray(numbers, np.float32).tobytes())
    digest.update(episode.outcome.encode())
    return digest.hexdigest()
