"""The fold ensemble of one detector: what ships, and what judges new scenes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mist_jax.risk.calibration.any_event import any_event_logit
from mist_jax.risk.calibration.platt import Platt, logit
from mist_jax.risk.detector import Detector, Member, per_motion
from mist_jax.risk.features import Samples


@dataclass(frozen=True)
class Ensemble:
    """K members, and who speaks: judge k < K is member k alone, judge K is all of them.

    Each judge has a calibration of its own, fitted on the scenes that calibrate. The ensemble's is
    on top: its risk is platt(logit(mean over k of what member k says)).
    """

    members: Sequence[Member]  # K
    platt_scale: np.ndarray  # float32 [K + 1, M]
    platt_shift: np.ndarray  # float32 [K + 1, M]
    quiet_score: np.ndarray  # float32 [K + 1, n], on the clean queries that set thresholds
    quiet_risk: np.ndarray  # float32 [K + 1, n]: `largest_risk` there, which sets gates

    @property
    def count(self) -> int:
        """K."""
        return len(self.members)

    def platt(self, judge: int) -> Platt:
        """The calibration of one judge."""
        return Platt(np.asarray(self.platt_scale)[judge], np.asarray(self.platt_shift)[judge])

    def risk(
        self, detector: Detector, samples: Samples, judge: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """What one judge says of every query: risk float32 [Q, M], and the score it rests on.

        The score is uncalibrated, [Q, M] or [Q]; of the ensemble it is the members' mean.
        """
        asked = range(self.count) if judge == self.count else (judge,)
        scores = [detector.score(self.members[k], samples) for k in asked]
        risks = [self.platt(k)(per_motion(s)) for k, s in zip(asked, scores, strict=True)]
        if judge < self.count:
            return risks[0].astype(np.float32), scores[0]
        together = self.platt(judge)(logit(np.mean(risks, axis=0)))
        return together.astype(np.float32), np.mean(scores, axis=0)

    def arrays(self) -> dict[str, Any]:
        """As a tree of arrays."""
        return {
            "members": {str(k): dict(member) for k, member in enumerate(self.members)},
            "platt_scale": self.platt_scale,
            "platt_shift": self.platt_shift,
            "quiet_score": self.quiet_score,
            "quiet_risk": self.quiet_risk,
        }

    @classmethod
    def of_arrays(cls, tree: Mapping[str, Any]) -> "Ensemble":
        """The inverse of `arrays`."""
        # A member that learnt nothing has no arrays, and an empty one leaves no trace on disk.
        stored = tree.get("members", {})
        members = [stored.get(str(k), {}) for k in range(len(tree["platt_scale"]) - 1)]
        return cls(members, **{name: leaf for name, leaf in tree.items() if name != "members"})


def alarm_score(
    detector: Detector, risk: np.ndarray, score: np.ndarray, usable: np.ndarray
) -> np.ndarray:
    """float32 [Q]: what alarm rules see of one judge's `risk` [Q, M] and the score it rests on.

    Of a detector of contacts the log odds of any event, over usable motions (bool [M]); one of
    failures keeps its own score, whatever it is worth as a forecast of contacts.
    """
    seen = score if detector.claims == "failure" else any_event_logit(risk, usable)
    return seen.astype(np.float32)
