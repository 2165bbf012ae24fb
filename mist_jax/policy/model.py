"""An architecture as the rest of the library sees it: the seam that a new policy fits into."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.intervention import Intervention
from mist_jax.intervention.outputs import ModelOutputs
from mist_jax.intervention.site import ModelSite, Pool
from mist_jax.intervention.tokens import TOKEN_ROLES
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.policy.preprocessing.spec import PreprocessingSpec


class PolicyModel(Protocol):
    """An architecture of one size: hashable, because it is static in the one compiled forward.

    A frozen dataclass on top of `PolicyModelDefaults` needs only what is not there. Parameters are
    nested dictionaries of arrays; inputs are any pytree whose arrays have the batch first.
    """

    @property
    def name(self) -> str:
        """Of the architecture: its row in `ARCHITECTURES`."""
        ...

    @property
    def action_dim(self) -> int:
        """Dimensions of an action."""
        ...

    @property
    def chunk(self) -> int:
        """Actions per query."""
        ...

    @property
    def sites(self) -> Mapping[str, ModelSite]:
        """Where activations can be read, and changed where a site says so, by name."""
        ...

    @property
    def token_roles(self) -> tuple[str, ...]:
        """Those of `TOKEN_ROLES` that its tokens have."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether actions depend smoothly on activations: not where they are drawn or tokens."""
        ...

    @property
    def preprocessing(self) -> PreprocessingSpec:
        """What goes before and after the network, but for statistics and tokenizer."""
        ...

    def abstract_parameters(self) -> dict[str, Any]:
        """Shapes of the parameters (`jax.ShapeDtypeStruct`), nested as the parameters are."""
        ...

    def lay_out(self, parameters: dict[str, Any], *, donate: bool = False) -> dict[str, Any]:
        """Stored parameters as `apply` runs them fastest on an accelerator; it takes both.

        `donate` deletes arrays as their successors are made, so that memory does not double.
        """
        ...

    def quantise(self, parameters: dict[str, Any], *, donate: bool = False) -> dict[str, Any]:
        """Stored parameters with the weights of large products in float8, the others in bfloat16.

        Raises:
            UserError: the architecture has no such form.
        """
        ...

    def spread_over(self, mesh: Mesh) -> "PolicyModel":
        """The same model, one query of which is computed by all devices of a mesh together.

        Each has all parameters (so says its `parameter_sharding`) and a part of the tokens.

        Raises:
            UserError: the architecture has no such form.
        """
        ...

    def apply(
        self,
        parameters: dict[str, Any],
        inputs: Any,
        intervention: Intervention | None,
        *,
        sites: tuple[str, ...] = (),
        pool: Pool = "mean",
    ) -> ModelOutputs:
        """The whole policy as a pure function.

        It calls `intervention` at its sites (see there), and returns the activations of `sites`.
        None is the policy alone.
        """
        ...

    def collate(self, inputs: Sequence[PolicyInputs], seeds: Sequence[int] | None) -> Any:
        """Examples as one padded batch; `seeds` (one each) are of the noise, where it draws any.

        Raises:
            UserError: inputs of another model's form.
        """
        ...

    def example_inputs(self, batch: int) -> Any:
        """Random inputs on the host, as large as they come; for timing."""
        ...

    def parameter_sharding(self, mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """Where a parameter lies; `path` is its names joined by slashes."""
        ...

    def flops(self, batch: int) -> float:
        """Floating-point operations of one forward, a multiply-add counting two."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Its size, JSON-ready."""
        ...

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PolicyModel":
        """The inverse of `to_dict`.

        Raises:
            UserError: a field is unknown, missing or of another kind.
        """
        ...


class PolicyModelDefaults:
    """What most small architectures leave as it is; for a frozen dataclass to inherit."""

    token_roles: tuple[str, ...] = TOKEN_ROLES
    differentiable = True

    def lay_out(self, parameters: dict[str, Any], *, donate: bool = False) -> dict[str, Any]:
        """As they are."""
        return parameters

    def quantise(self, parameters: dict[str, Any], *, donate: bool = False) -> dict[str, Any]:
        """There is no float8 form."""
        model: Any = self
        raise UserError(f"{model.name} has no float8 form; choose float32 or bfloat16")

    def spread_over(self, mesh: Mesh) -> PolicyModel:
        """Its queries stay on one device."""
        model: Any = self
        raise UserError(f"{model.name} does not spread a query's tokens over devices")

    def parameter_sharding(self, mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """Every parameter whole on every device."""
        return NamedSharding(mesh, PartitionSpec())

    def flops(self, batch: int) -> float:
        """A multiply-add for every parameter and example: for models that use each once."""
        model: Any = self
        leaves = jax.tree.leaves(model.abstract_parameters())
        return 2.0 * batch * sum(leaf.size for leaf in leaves)

    def to_dict(self) -> dict[str, Any]:
        """The dataclass's fields."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From the dataclass's fields."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(f"model config: {error}") from error


@runtime_checkable
class ReadsOutEarly(Protocol):
    """What a model may give beside: its last layers as functions, for directions from weights."""

    def value_vectors(
        self, parameters: dict[str, Any], layers: tuple[int, ...]
    ) -> Float[Array, "L F D"]:
        """What each unit of these layers' feed-forward parts writes, float32."""
        ...

    def decode(self, parameters: dict[str, Any], hidden: Float[Array, "D"]) -> Float[Array, "C A"]:
        """Normalised actions, float32, where every action token leaves the last layer as `hidden`.

        Raises:
            UserError: the model's head cannot do it.
        """
        ...


@runtime_checkable
class ShowsAttention(Protocol):
    """What a model may give beside: where its layers' attention looks."""

    def attention_weights(
        self,
        parameters: dict[str, Any],
        inputs: Any,
        intervention: Intervention | None,
        layers: tuple[int, ...],
    ) -> tuple[Float[Array, "B layers H T S"], Float[Array, "B T R"]]:
        """Attention of the named layers under an intervention, and each token's role, float32.

        Rows sum to one over the tokens before the padding, whose own rows are zero; roles are
        one-hot over `TOKEN_ROLES`, zero for padding.

        Raises:
            UserError: the model cannot tell.
        """
        ...


def steerable_layers(model: PolicyModel) -> int:
    """Layers of a model that can be steered: those of a prediction's `gate`."""
    return next((site.layers for site in model.sites.values() if site.steerable), 0)
