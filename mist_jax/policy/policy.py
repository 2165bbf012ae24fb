"""A policy in use: LIBERO observations and instructions in, actions, activations and risk out."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.gate import AlwaysOpen
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.operator import Operator
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.reader import RiskReader
from mist_jax.intervention.site import DEFAULT_SITE, ModelSite, Pool, split_site
from mist_jax.intervention.tokens import ACTION_TOKENS, ALL_TOKENS, role_mask
from mist_jax.policy.checkpoint import PolicyCard, dtype_of
from mist_jax.policy.forward import action_jacobian, forward, token_counts
from mist_jax.policy.model import PolicyModel, steerable_layers
from mist_jax.policy.preprocessing.gripper import gripper_for_environment
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor
from mist_jax.record.observation import Observation
from mist_jax.signed import MOTIONS, either_way


@dataclass(frozen=True)
class Prediction:
    """What one batch gave, on the host.

    `actions` can be executed as they are: un-normalised, the gripper turned for the environment (-1
    opens, +1 closes), clipped to [-1, 1]. `raw_actions` are before the gripper's turn and the clip,
    as the model's reference gives them. `activations` per site: float32 [B, layers, D], the mean
    over the site's tokens, or [B, layers, tokens, D] where every token was asked for.

    `signed_risk` is the calibrated probability that a signed motion (x+, x-, ...) drives a harmful
    contact within the horizon, `risk` that its dimension does so either way; zero without a risk
    head, whose `memory` is for the same episodes' next query. `gate` is how much steering acted at
    each layer: the norm of the change as a fraction of the norm of what it changed. `wanted` is the
    change of the executed action that causal operators meant to make, in action units a control
    step, averaged over the chunk; zero without one.
    """

    actions: np.ndarray  # float32 [B, C, A]
    raw_actions: np.ndarray  # float32 [B, C, A]
    activations: Mapping[str, np.ndarray]
    risk: np.ndarray  # float32 [B, A]
    signed_risk: np.ndarray  # float32 [B, M]
    gate: np.ndarray  # float32 [B, L]
    wanted: np.ndarray  # float32 [B, A]
    memory: Any = None  # pytree of arrays [B, ...]; None without a risk head


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

    @property
    def dtype(self) -> str:
        """Of the parameters as they are run: float32, bfloat16 or float8."""
        return dtype_of(self.parameters)

    def __repr__(self) -> str:
        leaf = jax.tree.leaves(self.parameters)[0]
        devices = ", ".join(sorted(str(device) for device in leaf.devices()))
        places = dict.fromkeys(site.partition(":")[0] for site in self.sites)
        return (
            f"Policy({self.identity!r}, {self.model.name}, {self.dtype}, "
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
        memory: Any = None,
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
            memory: the head's, of the same examples' query before (`prediction.memory`); None:
                these are the first of their episodes.
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
            inputs,
            sites=sites,
            pool=pool,
            steering=steering,
            risk_head=risk_head,
            memory=memory,
            seeds=seeds,
        )

    def predict_inputs(
        self,
        inputs: Sequence[PolicyInputs],
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
        steering: Operator | Sequence[Operator] | None = None,
        risk_head: RiskReader | None = None,
        memory: Any = None,
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
            self.intervention(len(inputs), steering, risk_head, memory),
            sites=tuple(sorted(set(sites))),
            pool=pool,
        )
        host = jax.device_get(outputs)
        raw = self.preprocessor.unnormalise(host.actions)
        batch = len(inputs)
        risk = np.zeros((batch, MOTIONS), np.float32) if host.risk is None else host.risk
        still = np.zeros((batch, self.model.action_dim), np.float32)
        return Prediction(
            actions=np.clip(gripper_for_environment(raw), -1.0, 1.0).astype(np.float32),
            raw_actions=raw,
            activations=host.activations,
            risk=either_way(risk),
            signed_risk=risk,
            gate=np.zeros((batch, self.layers), np.float32) if host.gate is None else host.gate,
            wanted=still if host.wanted is None else host.wanted,
            memory=host.memory,
        )

    def jacobian(
        self,
        inputs: Sequence[PolicyInputs],
        *,
        layer: int,
        tokens: tuple[str, ...] = (ACTION_TOKENS,),
        per_token: bool = True,
        site: str = DEFAULT_SITE,
    ) -> np.ndarray:
        """How each example's action changes with a push on its tokens, float32 [B, A, S, D].

        The derivative, at no push, of the executed action averaged over the chunk (in action units
        a control step, before the clip; the gripper's before it is made binary, + closes) with
        respect to a push after `layer` at `site`. Exact, by eight forwards' worth of work.

        Args:
            inputs: preprocessed examples.
            layer: 0-based, of the site's.
            tokens: roles of the tokens pushed.
            per_token: one push for each token (S of them in order; zero where an example has
                fewer), else S is 1: all of them get the same.
            site: a place that can be steered, such as `llm.resid`.

        Raises:
            UserError: an unknown site, layer or role, no inputs, or actions that cannot be
                differentiated: a diffusion or token head's.
        """
        place, steerable = split_site(site)[0], self._site(site)
        if not inputs or not tokens:
            raise UserError("a jacobian needs at least one example and at least one token role")
        if not self.model.differentiable:
            raise UserError(f"actions of {self.identity} cannot be differentiated: no L1 head")
        if not 0 <= layer < steerable.layers:
            raise UserError(f"{site} has layers 0 to {steerable.layers - 1}, not {layer}")
        batch = self.model.collate(inputs, None)
        mask = role_mask(tokens)
        roles = (ALL_TOKENS,) if ALL_TOKENS in tokens else tuple(dict.fromkeys(tokens))
        sites = tuple(place if role == ACTION_TOKENS else f"{place}:{role}" for role in roles)
        for name in sites:
            self._site(name)
        count = sum(token_counts(self.model, batch, sites)) if per_token else 1
        push = Push(
            push=jnp.zeros((len(inputs), count, steerable.width), jnp.float32),
            on=jnp.zeros(steerable.layers, jnp.float32).at[layer].set(1),
            gate=AlwaysOpen(),
            tokens=mask,
            site=place,
        )
        self._check_operator(push, len(inputs))
        slope = np.asarray(action_jacobian(self.model, self.parameters, batch, push))
        return (slope * self.preprocessor.executed_slope[:, None, None]).astype(np.float32)

    def intervention(
        self,
        batch: int,
        steering: Operator | Sequence[Operator] | None,
        risk_head: RiskReader | None,
        memory: Any = None,
    ) -> Intervention:
        """Checked against this model; what is not given is not in the program.

        Raises:
            UserError: steering, risk head or memory of another model's or head's shape, another
                site or batch; or a gate that listens to a risk that nobody reads, or too late.
        """
        operators: tuple[Operator, ...] = ()
        if steering is not None:
            several = isinstance(steering, (tuple, list))
            operators = tuple(steering) if several else (steering,)  # type: ignore[assignment]
        memory = self._memory(batch, risk_head, memory)
        late = [site for site in self._read(risk_head) if self.sites[site].stage == "after"]
        for operator in operators:
            self._check_operator(operator, batch)
            if not operator.gate.listens_to_risk():
                continue
            if risk_head is None:
                raise UserError(
                    "the steering's gate listens to risk and there is no risk head: give "
                    "risk_head, or a threshold of -inf (always open)"
                )
            if late:
                raise UserError(
                    f"risk read at {late[0]} comes after every layer that can be steered; a gate "
                    "needs a head that reads earlier sites"
                )
        return Intervention.of(risk_head, *operators, memory=memory)

    def _read(self, risk_head: RiskReader | None) -> tuple[str, ...]:
        """The sites that are read, once they were found to fit."""
        if risk_head is None:
            return ()
        for site, width in zip(risk_head.sites, risk_head.widths, strict=True):
            there = self._site(site)
            if width != there.width:
                raise UserError(
                    f"the risk head reads width {width}, {site} has {there.width}; train it on "
                    "this model's activations"
                )
        return risk_head.sites

    def _memory(self, batch: int, risk_head: RiskReader | None, memory: Any) -> Any:
        """The memory given, checked, or that of first queries."""
        if risk_head is None:
            if memory is not None:
                raise UserError("a memory needs the risk head whose it is: give risk_head")
            return None
        if memory is None:
            return risk_head.no_memory(batch)
        if _shapes(memory) != _memory_shapes(_Abstract.of(risk_head), batch):
            raise UserError(
                f"the memory is of another risk head or batch than this of {batch}: give the last "
                "prediction's, or None at an episode's first query"
            )
        return memory

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
        operator.gate.check(batch=batch, motions=MOTIONS)

    def _site(self, name: str) -> ModelSite:
        if name not in self.sites:
            raise UserError(f"unknown site {name!r}; there are {', '.join(self.sites)}")
        return self.sites[name]


_Shapes = tuple[Any, tuple[tuple[int, ...], ...]]


def _shapes(tree: Any) -> _Shapes:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(np.shape(leaf) for leaf in leaves)


@dataclass(frozen=True)
class _Abstract:
    """A pytree's structure, shapes and dtypes: all that its own shapes can depend on."""

    structure: Any
    leaves: tuple[tuple[tuple[int, ...], Any], ...]

    @classmethod
    def of(cls, tree: Any) -> "_Abstract":
        leaves, structure = jax.tree.flatten(tree)
        return cls(structure, tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))


@functools.lru_cache(maxsize=64)
def _memory_shapes(reader: _Abstract, batch: int) -> _Shapes:
    """Of what a reader remembers before a first query; traced once, and not at every query."""
    leaves = [jax.ShapeDtypeStruct(*leaf) for leaf in reader.leaves]
    head: RiskReader = jax.tree.unflatten(reader.structure, leaves)
    return _shapes(jax.eval_shape(lambda one: one.no_memory(batch), head))
