"""A causal bank: how a policy's action changes with a push at one layer, and what to want of it.

It builds the `CausalPush` of a batch: a wanted change of the action (an intent) becomes a push on
the tokens (an action map of one of three forms).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import ACTION_DIMENSIONS, SIGNED_MOTIONS, Array, Float
from mist_jax.counterfactual.fitting.learn import ACTION_VALUE
from mist_jax.errors import UserError
from mist_jax.intervention.action_map.linear import LinearMap
from mist_jax.intervention.action_map.noise import NoiseMap
from mist_jax.intervention.action_map.table import TableMap
from mist_jax.intervention.features import Projection
from mist_jax.intervention.gate import Gate, ThresholdGate
from mist_jax.intervention.intent.action_value import ActionValue
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.along_normal import AlongNormal
from mist_jax.intervention.intent.braked import Braked, OwnMotion
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.intent.sampled_value import SAMPLES, SampledValue
from mist_jax.intervention.intent.toward_expert import TowardExpert
from mist_jax.intervention.intent.upward import Upward
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.steering.causal.effects import Effects

Form = Literal["table", "linear", "exact"]
FORMS: tuple[Form, ...] = get_args(Form)
AGAINST_MOTION, UPWARD, GIVEN = "against_motion", "upward", "given"  # that need no fit
SAMPLED = "sampled"  # of drawn changes the best one, by the value of actions
_A = len(ACTION_DIMENSIONS)


@dataclass(frozen=True)
class CausalMetadata:
    """Of which model, place and data a bank is, and what was chosen.

    `tokens` are the roles of the tokens pushed, each with its own push where `per_token`; `reads`
    those whose mean activations intents and the linear form look at. `edges` divide an episode, by
    the share of its longest time that is over, into phases. `damping` and the quality of each
    `Form`'s pushes were chosen on scenes that the Jacobians are not from; `form` is the better one
    of those that cost one forward. `own_r2` [A] is the share of the policy's own motion that the
    activations say, on held-out scenes; None where it does not vary. `dataset_hash` is of the
    episodes with pictures, `branches_hash` of those that fitted intents come from.
    """

    model: str
    layer: int
    layers: int  # of the site
    chunk: int
    instructions: tuple[str, ...]
    edges: tuple[float, ...]
    damping: Mapping[str, float]
    form: Form = "table"
    site: str = DEFAULT_SITE
    tokens: tuple[str, ...] = ("action",)
    per_token: bool = True
    reads: tuple[str, ...] = ("action",)
    states: int = 0
    scenes: int = 0
    own_r2: tuple[float | None, ...] = ()
    seed: int = 0
    dataset_hash: str = ""
    branches_hash: str = ""
    code_version: str = ""

    @property
    def phases(self) -> int:
        """Parts that an episode is divided into."""
        return len(self.edges) + 1


@struct.dataclass
class CausalBank:
    """Jacobians in executed action units per control step; S is 1 unless pushes are per token.

    `table` has a row for each instruction and phase, then one of each phase for instructions that
    it does not know. `terms` are those of the linear form, for the numbers that `projection` makes
    of the activations read, `own` those of the policy's own motion, for the same numbers.
    `covariance` is a factor of the activations' covariance over the pushed tokens together.
    `intents` are the fitted ones, by name; `effects` what each form's push was measured to do, on
    scenes that nothing here was made from.
    """

    table: Float[Array, "rows A S D"]
    projection: Projection
    terms: Float[Array, "terms A S D"]
    covariance: Float[Array, "rank S D"]
    own: Float[Array, "terms A"]
    intents: Mapping[str, ActionIntent]
    effects: Mapping[str, Effects] = struct.field(pytree_node=False)
    metadata: CausalMetadata = struct.field(pytree_node=False)

    def row(self, instruction: str, step: int, max_steps: int) -> int:
        """The table's row for a query: of its instruction (or that for unknown ones) and phase."""
        return table_row(self.metadata, instruction, step / max(max_steps, 1))

    def jacobian(self, policy: Policy, inputs: list[PolicyInputs]) -> np.ndarray:
        """Float32 [B, A, S, D]: the exact form's, of these very inputs.

        Raises:
            UserError: the policy's head cannot be differentiated.
        """
        made = self.metadata
        return policy.jacobian(
            inputs, layer=made.layer, tokens=made.tokens, per_token=made.per_token, site=made.site
        )

    def draw_noise(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Float32 [B, S, D]: Gaussian, with the covariance of the activations that are pushed."""
        weights = rng.standard_normal((batch, len(self.covariance))).astype(np.float32)
        return np.einsum("br,rsd->bsd", weights, np.asarray(self.covariance))

    def action_map(
        self,
        form: Form,
        batch: int,
        *,
        rows: ArrayLike | None = None,
        jacobian: ArrayLike | None = None,
    ) -> TableMap | LinearMap:
        """The map of one form for `batch` examples.

        `rows` int [B] are those of the table (`row`; default the first), `jacobian` [B, A, S, D] is
        the exact form's (`jacobian`; default zero, which pushes nothing).

        Raises:
            UserError: there is no such form, or a shape does not fit.
        """
        if form not in FORMS:
            raise UserError(f"there is no push of the form {form!r}; there are {', '.join(FORMS)}")
        damping = self.metadata.damping[form]
        if form == "linear":
            return LinearMap(self.projection, self.terms, jnp.asarray(damping, jnp.float32))
        if form == "exact":
            of = np.zeros((batch, *self.table.shape[1:])) if jacobian is None else jacobian
            return TableMap.of(of, damping=damping)
        picked = np.zeros(batch, np.int32) if rows is None else rows
        return TableMap.of(self.table, picked, damping=damping)

    def intent(self, name: str, batch: int, size: ArrayLike | None = None) -> ActionIntent:
        """An intent by name; `size` [A], in units, is how far those go that do not say themselves.

        Along the normal, upward and toward the expert its first number counts; the value of actions
        has its own candidates, `sampled` those that are drawn for each query (until then zero).

        Raises:
            UserError: the bank has no such intent.
        """
        sizes = np.zeros(_A, np.float32) if size is None else np.asarray(size, np.float32)
        if name == AGAINST_MOTION:
            return AgainstMotion.of(sizes)
        if name == UPWARD:
            return Upward.of(sizes[0])
        if name == GIVEN:
            return Given.of(np.zeros((batch, _A), np.float32))
        if name == SAMPLED:
            return SampledValue.of(self.action_value(), np.zeros((batch, SAMPLES, _A)))
        if name not in self.intents:
            known = ", ".join((AGAINST_MOTION, UPWARD, GIVEN, *self.intents))
            raise UserError(
                f"the causal bank has no intent {name!r}; it has {known}; others are learnt from "
                "--data_dir (harmful contacts, and labels of --expert_labels) and from --branches; "
                "summary.json says why one is absent"
            )
        found = self.intents[name]
        if isinstance(found, AlongNormal | TowardExpert) and size is not None:
            return replace(found, size=jnp.asarray(sizes[0]))
        return found

    def action_value(self) -> ActionValue:
        """The value of actions that branches taught.

        Raises:
            UserError: none was fitted.
        """
        found = self.intents.get(ACTION_VALUE)
        if not isinstance(found, ActionValue):
            raise UserError(
                "the causal bank has no value of actions to judge candidates by; extract it with "
                "--branches"
            )
        return found

    def braked(self, intent: ActionIntent, share: ArrayLike, halt: ArrayLike = 0.0) -> Braked:
        """The intent, with shares of the policy's own motion against and across it taken away."""
        own = OwnMotion.of(self.projection, self.own[1:], self.own[0])
        return Braked.of(intent, own, share, halt)

    def operator(
        self,
        batch: int,
        form: Form,
        intent: str | ActionIntent,
        *,
        size: ArrayLike | None = None,
        brake: float = 0.0,
        halt: float = 0.0,
        gate: Gate | None = None,
        transform: ArrayLike | None = None,
        applied: ArrayLike = 1.0,
        rows: ArrayLike | None = None,
        jacobian: ArrayLike | None = None,
        noise: ArrayLike | None = None,
    ) -> CausalPush:
        """The push of `intent` in one form, for a batch; what is not given leaves it shut.

        Args:
            batch: examples.
            form: of the action map.
            intent: by name, or itself.
            size: [A], units a control step (`mist_jax.action_units`).
            brake: share of the policy's own motion against the intent that is taken away too.
            halt: the same of its motion across it.
            gate: default a threshold of +inf for each signed motion, listening one to one.
            transform: [B, A, A], default zero: every example is left alone.
            applied: [B] or one for all.
            rows: of the table form, int [B].
            jacobian: of the exact form, [B, A, S, D].
            noise: [B, S, D], pushed in place of the map's push, with its dose (`draw_noise`).

        Raises:
            UserError: no such form or intent, or a shape does not fit.
        """
        made = self.metadata
        chosen = self.action_map(form, batch, rows=rows, jacobian=jacobian)
        motions = len(SIGNED_MOTIONS)
        wants = self.intent(intent, batch, size) if isinstance(intent, str) else intent
        return CausalPush.of(
            chosen if noise is None else NoiseMap.of(chosen, noise),
            self.braked(wants, brake, halt) if brake or halt else wants,
            np.zeros((batch, _A, _A)) if transform is None else transform,
            np.arange(made.layers) == made.layer,
            applied=applied,
            gate=gate or ThresholdGate.of(np.inf, np.eye(motions), batch),
            tokens=made.tokens,
            reads=made.reads,
            site=made.site,
            pin=True,
        )


def table_row(made: CausalMetadata, instruction: str, progress: float) -> int:
    """The row of an instruction and of the share of an episode's longest time that is over."""
    known = instruction in made.instructions
    text = made.instructions.index(instruction) if known else len(made.instructions)
    return text * made.phases + int(np.searchsorted(made.edges, progress, side="right"))
