"""The risk head and the banks of an evaluation, checked against its policy."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.errors import UserError
from mist_jax.evaluation.run_setup import digest
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.intervention.reader import RiskReader
from mist_jax.policy.policy import Policy
from mist_jax.record.contact import DEFAULT_HORIZON, DEFAULT_SHARE
from mist_jax.risk.study.checkpoint import restore_risk_head
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.causal.bank import CausalBank
from mist_jax.steering.causal.checkpoint import restore_causal_bank
from mist_jax.steering.checkpoint import restore_bank
from mist_jax.steering.conceptors.bank import ConceptorBank
from mist_jax.steering.conceptors.checkpoint import restore_conceptors
from mist_jax.steering.study.registry import CONCEPTOR


@dataclass(frozen=True)
class LearntParts:
    """What alarms and pushes; None and "" where a run goes without.

    `threshold` [M] is as calibrated, inf without a head. `trained_on` holds the scenes or
    instructions that had a role in making the head.
    """

    risk_head: RiskReader | None
    risk_digest: str
    threshold: np.ndarray
    horizon: int
    share: float
    trained_on: Collection[str] | None
    causal: CausalBank | None
    causal_digest: str
    directions: SteeringBank | None
    directions_digest: str
    conceptors: ConceptorBank | None = None
    conceptors_digest: str = ""

    @property
    def pushes(self) -> bool:
        """Whether there is anything to push with."""
        return any(bank is not None for bank in (self.causal, self.directions, self.conceptors))


def load_learnt_parts(
    policy: Policy,
    *,
    risk: Path | None = None,
    causal: Path | None = None,
    directions: Path | None = None,
    method: str = "",
    conceptors: Path | None = None,
    allow_unproven: bool = False,
) -> LearntParts:
    """Restores what is named by its folder; of `directions` only those of `method`.

    `conceptors` is the folder of such a bank; those that safe states taught are taken.

    Raises:
        UserError: a folder holds no such thing, it was made from another model or at a site that
            this one does not have, directions speak of other contacts than the head, or none is
            proven to do what its name says and `allow_unproven` is not set.
    """
    head, head_digest, trained_on = None, "", None
    threshold = np.full(len(SIGNED_MOTIONS), np.inf, np.float32)
    horizon, share = DEFAULT_HORIZON, DEFAULT_SHARE
    if risk is not None:
        head, metadata = restore_risk_head(risk)
        _check_model(metadata.model, policy, f"the risk head in {risk}", "train")
        for site in head.sites:
            _check_site(site, policy, f"the risk head in {risk}")
        head_digest, trained_on = digest(head), metadata.role_of.keys()
        head = head.pin() if isinstance(head, RiskHead) else head
        threshold, horizon, share = metadata.alarm_threshold, metadata.horizon, metadata.share
    pushes, pushes_digest = None, ""
    if causal is not None:
        pushes = restore_causal_bank(causal)
        _check_model(pushes.metadata.model, policy, f"the causal bank in {causal}", "extract")
        _check_site(pushes.metadata.site, policy, f"the causal bank in {causal}")
        made = dataclasses.replace(pushes.metadata, code_version="")
        pushes_digest = digest((pushes, dataclasses.asdict(made)))
    bank, bank_digest = None, ""
    if directions is not None:
        whole = restore_bank(directions)
        _check_model(whole.metadata.model, policy, f"the bank in {directions}", "extract")
        _check_site(whole.metadata.site, policy, f"the bank in {directions}")
        if risk is not None:
            _check_labels(whole.metadata, directions, horizon, share)
        bank = whole.method(method)
        bank = bank if allow_unproven else bank.proven()
        bank_digest = digest(bank)
    soft, soft_digest = None, ""
    if conceptors is not None:
        every = restore_conceptors(conceptors)
        where = f"the conceptor bank in {conceptors}"
        _check_model(every.metadata.model, policy, where, "extract")
        _check_site(every.metadata.site, policy, where)
        if risk is not None:
            _check_labels(every.metadata, conceptors, horizon, share)
        soft = every.method(CONCEPTOR)
        soft = soft if allow_unproven else soft.proven()
        soft_digest = digest(soft)
    return LearntParts(
        risk_head=head,
        risk_digest=head_digest,
        threshold=threshold,
        horizon=horizon,
        share=share,
        trained_on=trained_on,
        causal=pushes,
        causal_digest=pushes_digest,
        directions=bank,
        directions_digest=bank_digest,
        conceptors=soft,
        conceptors_digest=soft_digest,
    )


def _check_model(made_from: str, policy: Policy, what: str, verb: str) -> None:
    if made_from != policy.identity:
        raise UserError(
            f"{what} was made from {made_from!r}, --model_name is {policy.identity!r}; {verb} it "
            "on this model's episodes"
        )


def _check_site(site: str, policy: Policy, what: str) -> None:
    if site not in policy.sites:
        raise UserError(
            f"{what} is for the site {site!r}, which {policy.identity!r} does not have (it has "
            f"{', '.join(policy.sites)})"
        )


def _check_labels(bank: BankMetadata, folder: Path, horizon: int, share: float) -> None:
    """Pushes must be away from the contacts that the head forecasts."""
    if (bank.horizon, bank.share) != (horizon, share):
        raise UserError(
            f"the bank in {folder} was extracted with --horizon={bank.horizon} --share={bank.share}"
            f", the risk head was trained with {horizon} and {share}; extract the bank with those"
        )
