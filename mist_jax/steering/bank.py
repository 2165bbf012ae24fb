"""A bank of steering directions: where to push, and whose risk may open the push."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import SIGNED_MOTIONS, Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.site import DEFAULT_SITE
from mist_jax.intervention.steering import Steering
from mist_jax.steering.proof import Proof, doses, proven_rows

NO_PROOFS: Mapping[tuple[str, str], Proof] = MappingProxyType({})


@dataclass(frozen=True)
class BankMetadata:
    """What a bank was made from; `layers` are the ones its vectors are not zero at."""

    site: str = DEFAULT_SITE
    layers: tuple[int, ...] = ()
    model: str = ""
    dataset_hash: str = ""
    horizon: int = 0
    share: float = 0.0
    seed: int = 0
    code_version: str = ""


@struct.dataclass
class SteeringBank:
    """Directions, each away from the harm of one signed motion, whose risk opens its gate.

    At every steered layer a vector's norm is `residual_norm` of that layer, the mean norm of the
    activations pooled over the action tokens: a coefficient is a fraction of it. Other layers are
    zero. `names[v]` is such as "x+": moving along +x was harmful, the vector points to where it was
    not. `methods[v]` says how it was found, `proofs[v]` what it was measured to do to the action.
    """

    vectors: Float[Array, "V L D"]
    gates: Float[Array, "V M"]
    residual_norm: Float[Array, "L"]  # zero at layers of which nothing is known
    names: tuple[str, ...] = struct.field(pytree_node=False)
    methods: tuple[str, ...] = struct.field(pytree_node=False)
    proofs: tuple[Proof, ...] = struct.field(pytree_node=False)
    metadata: BankMetadata = struct.field(pytree_node=False, default_factory=BankMetadata)

    @classmethod
    def join(
        cls,
        directions: Sequence["Directions"],
        residual_norm: np.ndarray,
        layers: int,
        metadata: BankMetadata,
        proofs: Mapping[tuple[str, str], Proof] = NO_PROOFS,
    ) -> Self:
        """Scales and stacks what the methods found; `residual_norm` is [len(metadata.layers)].

        `proofs` are by method and name; what has none was not measured.

        Raises:
            UserError: there is no direction at all.
        """
        found = [(d.method, name, d.unit[i]) for d in directions for i, name in enumerate(d.names)]
        if not found:
            raise UserError(
                "no direction could be extracted: the dataset has too few harmful contacts; "
                "collect more episodes, or lower --min_samples"
            )
        steered = list(metadata.layers)
        vectors = np.zeros((len(found), layers, found[0][2].shape[-1]), np.float32)
        for row, (_, _, unit) in enumerate(found):
            vectors[row, steered] = unit * residual_norm[:, None]
        norms = np.zeros(layers, np.float32)
        norms[steered] = residual_norm
        return cls(
            vectors=jnp.asarray(vectors),
            gates=jnp.asarray(np.stack([gate_of(name) for _, name, _ in found])),
            residual_norm=jnp.asarray(norms),
            names=tuple(name for _, name, _ in found),
            methods=tuple(method for method, _, _ in found),
            proofs=tuple(proofs.get((method, name), Proof()) for method, name, _ in found),
            metadata=metadata,
        )

    def method(self, name: str) -> Self:
        """The directions of one method alone.

        Raises:
            UserError: the bank has none of it.
        """
        rows = [i for i, method in enumerate(self.methods) if method == name]
        if not rows:
            raise UserError(
                f"the steering bank has no {name!r} directions; it has "
                f"{', '.join(dict.fromkeys(self.methods))}"
            )
        return self._of_rows(rows)

    def proven(self) -> Self:
        """The directions alone that were measured to act as their names say (`steering.proof`).

        Raises:
            UserError: none was.
        """
        methods = ", ".join(dict.fromkeys(self.methods))
        return self._of_rows(proven_rows(methods, self.names, self.proofs))

    def dosed(self, size: ArrayLike) -> np.ndarray:
        """Float32 [V]: coefficients that move each one's dimension by `size` [A], as measured.

        In executed action units a control step; 0 for directions that were not measured.
        """
        return doses(self.names, self.proofs, np.asarray(size))

    def _of_rows(self, rows: list[int]) -> Self:
        return replace(
            self,
            vectors=self.vectors[np.asarray(rows)],
            gates=self.gates[np.asarray(rows)],
            names=tuple(self.names[i] for i in rows),
            methods=tuple(self.methods[i] for i in rows),
            proofs=tuple(self.proofs[i] for i in rows),
        )

    def steering(
        self,
        coefficient: ArrayLike,
        *,
        threshold: ArrayLike = -np.inf,
        shrink: ArrayLike = 0.0,
        tokens: tuple[str, ...] | None = None,
    ) -> Steering:
        """`Steering` at the bank's own site, `coefficient` [B, V]; the rest as `Steering.of`."""
        return Steering.of(
            self.vectors,
            coefficient,
            gates=self.gates,
            threshold=threshold,
            shrink=shrink,
            tokens=tokens,
            site=self.metadata.site,
        )


@dataclass(frozen=True)
class Directions:
    """What one method found: unit vectors, and why the missing ones are missing."""

    method: str
    names: tuple[str, ...]
    unit: np.ndarray  # float32 [V, L, D], norm 1 per layer
    absent: dict[str, str] = field(default_factory=dict)  # name -> reason
    facts: dict[str, dict[str, float]] = field(default_factory=dict)  # name -> figures


def gate_of(name: str) -> np.ndarray:
    """Float32 [M]: the signed motion that a direction is named after opens its gate."""
    return (np.asarray(SIGNED_MOTIONS) == name).astype(np.float32)


def unit_rows(vectors: np.ndarray) -> np.ndarray | None:
    """`vectors` [..., D] at norm 1 (float32); None where one has no length to scale."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.isfinite(norm).all() or (norm <= 1e-12).any():
        return None
    return (vectors / norm).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the angle between vectors [..., D]; 0 where one of them is zero."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / np.maximum(norms, 1e-12)
