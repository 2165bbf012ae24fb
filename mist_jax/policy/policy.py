"""A policy in use: LIBERO observations and instructions in, actions, activations and risk out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import ModelSite, Pool
from mist_jax.policy.checkpoint import PolicyCard
from mist_jax.policy.forward import forward
from mist_jax.policy.model import PolicyModel, steerable_layers
from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor
from mist_jax.record.observation import Observation


@dataclass(frozen=True)
class Prediction:
    """What one batch gave, on the host.

    `actions` can be executed as they are: un-normalised, the gripper turned for the environment (-1
    opens, +1 closes), clipped to [-1, 1]. `raw_actions` are before the gripper's turn and the clip,
    as the model's reference gives them. `activations` per site: float32 [B, layers, D], the mean
    over the site's tokens, or [B, layers, tokens, D] where every token was asked for. `risk` is the
    calibrated probability that a dimension drives a harmful contact within the horizon (zero
    without a risk head). `gate` is how much steering acted at each layer: the norm of the change as
    a fraction of the norm of what it changed.
    """

    actions: np.ndarray  # float32 [B, C, A]
    raw_actions: np.ndarray  # float32 [B, C, A]
    activations: Mapping[str, np.ndarray]
    risk: np.ndarray  # float32 [B, A]
    gate: np.ndarray  # float32 [B, L]


@dataclass(frozen=True)
class Policy:
    """Parameters, and what goes before and after them. Nothing in it changes."""

    card: PolicyCard
    parameters: dict[str, Any]
    preprocessor: Preprocessor

    @property
    def model(self) -> PolicyModel:
        """The architecture."""
        return self.card.model

    @property
    def sites(self) -> Mapping[str, ModelSite]:
        """What can be tapped, and steered where it says so, by name."""
        return self.model.sites

    @property
    def layers(self) -> int:
        """Layers that can be steered: those of `prediction.gate`."""
        return steerable_layers(self.model)

    @property
    def steerable(self) -> str:
        """The first site that can be steered; "" where none can."""
        return next((name for name, site in self.sites.items() if site.steerable), "")

    @property
    def identity(self) -> str:
        """Name and digest of the parameters."""
        return self.card.identity

    def __repr__(self) -> str:
        leaf = jax.tree.leaves(self.parameters)[0]
        devices = ", ".join(sorted(str(device) for device in leaf.devices()))
        places = dict.fromkeys(site.partition(":")[0] for site in self.sites)
        return (
            f"Policy({self.identity!r}, {self.model.name}, {leaf.dtype}, "
            f"sites: {' '.join(places)}, on {devices})"
        )

    def predict(
        self,
        observations: Sequence[Observation | Mapping[str, np.ndarray]],
        instructions: Sequence[str],
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
        steering: Operator | Sequence[Operator] | None = None,
        risk_head: RiskReader | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Prediction:
        """One chunk of actions per observation.

        Args:
            observations: LIBERO's dictionaries, images as rendered, or `Observation`s.
            instructions: one sentence per observation.
            sites: which activations to return, of `policy.sites`.
            pool: `mean` over the site's tokens, or every one of the `tokens`: those of the site's
                role in order, padded with zeros to the longest there could be.
            steering: `Steering`, or operators that act in the order given; None is off, bit for
                bit.
            risk_head: None reports zero risk.
            seeds: of the diffusion head's noise, one per example; other heads draw nothing.

        Raises:
            UserError: lists of different length, a malformed observation, an unknown site, or
                steering or a risk head that does not fit.
        """
        if len(observations) != len(instructions) or not observations:
            raise UserError(
                f"predict needs as many instructions as observations and at least one, "
                f"not {len(observations)} observations and {len(instructions)} instructions"
            )
        pairs = zip(observations, instructions, strict=True)
        inputs = [self.preprocessor(observation, text) for observation, text in pairs]
        return self.predict_inputs(
            inputs, sites=sites, pool=pool, steering=steering, risk_head=risk_head, seeds=seeds
        )

    def predict_inputs(
        self,
        inputs: Sequence[PolicyInputs],
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
        steering: Operator | Sequence[Operator] | None = None,
        risk_head: RiskReader | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Prediction:
        """`predict` on inputs that a worker has preprocessed already."""
        if pool not in ("mean", "tokens"):
            raise UserError(f"pool is 'mean' or 'tokens', not {pool!r}")
        for site in sites:
            if pool not in self._site(site).pools:
                raise UserError(f"{site} is not about single tokens: ask for it with pool='mean'")
        outputs = forward(
            self.model,
            self.parameters,
            self.model.collate(inputs, seeds),
            self.intervention(len(inputs), steering, risk_head),
            sites=tuple(sorted(set(sites))),
            pool=pool,
        )
        host = jax.device_get(outputs)
        raw = self.preprocessor.unnormalise(host.actions)
        batch, dims = len(inputs), self.model.action_dim
        return Prediction(
            actions=np.clip(gripper_for_environment(raw), -1.0, 1.0).astype(np.float32),
            raw_actions=raw,
            activations=host.activations,
            risk=np.zeros((batch, dims), np.float32) if host.risk is None else host.risk,
            gate=np.zeros((batch, self.layers), np.float32) if host.gate is None else host.gate,
        )

    def intervention(
        self,
        batch: int,
        steering: Operator | Sequence[Operator] | None,
        risk_head: RiskReader | None,
    ) -> Intervention:
        """Checked against this model; what is not given is not in the program.

        Raises:
            UserError: steering or risk head of another model's shape or site, or for another
                batch; or a gate that listens to a risk that nobody reads, or reads too late.
        """
        operators: tuple[Operator, ...] = ()
        if steering is not None:
            several = isinstance(steering, (tuple, list))
            operators = tuple(steering) if several else (steering,)  # type: ignore[assignment]
        read = None
        if risk_head is not None:
            read = self._site(risk_head.site)
            if risk_head.width != read.width:
                raise UserError(
                    f"the risk head reads width {risk_head.width}, {risk_head.site} has "
                    f"{read.width}; train it on this model's activations"
                )
        for operator in operators:
            self._check_operator(operator, batch)
            if not operator.gate.listens_to_risk():
                continue
            if read is None:
                raise UserError(
                    "the steering's gate listens to risk and there is no risk head: give "
                    "risk_head, or a threshold of -inf (always open)"
                )
            if read.stage == "after":
                assert risk_head is not None
                raise UserError(
                    f"risk read at {risk_head.site} comes after every layer that can be steered; "
                    "a gate needs a head that reads an earlier site"
                )
        return Intervention.of(risk_head, *operators)

    def _check_operator(self, operator: Operator, batch: int) -> None:
        site = self._site(operator.site)
        if not site.steerable:
            places = dict.fromkeys(
                n.partition(":")[0] for n, s in self.sites.items() if s.steerable
            )
            raise UserError(f"nothing can steer at {operator.site}; choose {', '.join(places)}")
        examples, layers, width = operator.extent
        if (layers, width) != (site.layers, site.width) or examples not in (None, batch):
            raise UserError(
                f"steering is for {batch if examples is None else examples} examples, {layers} "
                f"layers of width {width}; this batch has {batch}, the model {site.layers} layers "
                f"of width {site.width}"
            )
        operator.gate.check(batch=batch, dimensions=self.model.action_dim)

    def _site(self, name: str) -> ModelSite:
        if name not in self.sites:
            raise UserError(f"unknown site {name!r}; there are {', '.join(self.sites)}")
        return self.sites[name]
