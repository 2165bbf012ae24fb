"""The harmful contacts of an episode as what is rectangular: so much for every control step."""

from dataclasses import dataclass, field

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.record.column import column
from mist_jax.record.episode import Episode


@dataclass(frozen=True)
class HarmfulSteps:
    """Per control step [N]: whether there was a harmful contact, and the strongest one's force."""

    harmful_contact: np.ndarray = field(metadata=column(np.bool_))
    peak_force: np.ndarray = field(metadata=column(np.float32, doc="N, 0 without such a contact"))

    @classmethod
    def of(cls, episode: Episode) -> "HarmfulSteps":
        """Those of an episode."""
        peak = np.zeros(len(episode.steps), np.float32)
        for contact in episode.contacts:
            if contact.harmful:
                peak[contact.step] = max(peak[contact.step], contact.peak_force)
        return cls(harmful_contact=peak > 0, peak_force=peak)


def onset_share(episode: Episode) -> np.ndarray:
    """Float32 [N, A]: which action dimensions drove the harmful contact that begins in a step.

    Zeros where none begins; the strongest one's share where several do.
    """
    share = np.zeros((len(episode.steps), len(ACTION_DIMENSIONS)), np.float32)
    for contact in sorted(episode.harmful_onsets, key=lambda contact: contact.peak_force):
        share[contact.step] = contact.share
    return share
