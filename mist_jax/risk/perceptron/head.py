"""The risk head as a detector: it reads the policy's activations, and ships as a `RiskHead`."""

from collections.abc import Sequence
from dataclasses import dataclass

from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.risk.calibration.platt import Platt
from mist_jax.risk.detector import Member
from mist_jax.risk.features import Samples
from mist_jax.risk.perceptron.detector import HazardDetector
from mist_jax.risk.perceptron.scoring import head_of
from mist_jax.risk.plan import Plan

HEAD = "head"


@dataclass(frozen=True)
class RiskHeadDetector(HazardDetector):
    """Reads layers of all the samples' sites that leave later ones to steer."""

    reader = RiskHead

    def ship(
        self,
        members: Sequence[Member],
        platts: Sequence[Platt],
        ensemble: Platt,
        samples: Samples,
        plan: Plan,
    ) -> RiskHead:
        """The members as one ensemble, calibrated; nothing is fitted again."""
        del plan  # members were chosen of the layers that it allows
        return head_of(members, self.read(samples), self.kind, self.remembers, platts, ensemble)


RISK_HEAD = RiskHeadDetector(HEAD)
MIXING_HEAD = RiskHeadDetector("head mixing layers", mixes=True)
REMEMBERING_HEAD = RiskHeadDetector("head with memory", remembers=True)
LINEAR_HEAD = RiskHeadDetector("head linear", "linear")
RECURRENT_HEAD = RiskHeadDetector("head recurrent", "recurrent")
HEADS = (RISK_HEAD, MIXING_HEAD, REMEMBERING_HEAD, LINEAR_HEAD, RECURRENT_HEAD)
