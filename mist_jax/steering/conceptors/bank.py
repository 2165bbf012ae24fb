"""A bank of conceptors: arrays, whose risk may open them, and what they were measured to do."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.gate import ThresholdGate
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.steering.bank import BankMetadata, gate_of
from mist_jax.steering.conceptors.fit import Conceptors
from mist_jax.steering.proof import Proof, doses, proven_rows


@struct.dataclass
class ConceptorBank:
    """Conceptors of V names at the steered layers (those of the metadata, in order).

    "x+" draws activations to those that no harm of moving along +x followed. Of `layers` the model
    has, the others are left alone.
    """

    basis: Float[Array, "V steered D rank"]
    kept: Float[Array, "V steered rank"]
    centre: Float[Array, "V steered D"]
    gates: Float[Array, "V M"]
    names: tuple[str, ...] = struct.field(pytree_node=False)
    methods: tuple[str, ...] = struct.field(pytree_node=False)
    proofs: tuple[Proof, ...] = struct.field(pytree_node=False)
    layers: int = struct.field(pytree_node=False)
    metadata: BankMetadata = struct.field(pytree_node=False)

    @classmethod
    def join(
        cls,
        found: tuple[Conceptors, ...],
        layers: int,
        metadata: BankMetadata,
        proofs: Mapping[tuple[str, str], Proof],
    ) -> Self:
        """Of what several methods found, at least one conceptor; `proofs` by method and name."""
        rank = max(one.kept.shape[-1] for one in found)
        pad = [rank - one.kept.shape[-1] for one in found]
        pairs = [(one.method, name) for one in found for name in one.names]
        return cls(
            basis=jnp.concatenate(
                [
                    jnp.pad(o.basis, ((0, 0),) * 3 + ((0, p),))
                    for o, p in zip(found, pad, strict=True)
                ]
            ),
            kept=jnp.concatenate(
                [
                    jnp.pad(o.kept, ((0, 0),) * 2 + ((0, p),))
                    for o, p in zip(found, pad, strict=True)
                ]
            ),
            centre=jnp.concatenate([jnp.asarray(one.centre) for one in found]),
            gates=jnp.asarray(np.stack([gate_of(name) for _, name in pairs])),
            names=tuple(name for _, name in pairs),
            methods=tuple(method for method, _ in pairs),
            proofs=tuple(proofs.get(pair, Proof()) for pair in pairs),
            layers=layers,
            metadata=metadata,
        )

    def method(self, name: str) -> Self:
        """The conceptors of one method alone.

        Raises:
            UserError: the bank has none of it.
        """
        rows = [i for i, method in enumerate(self.methods) if method == name]
        if not rows:
            raise UserError(
                f"the conceptor bank has no {name!r}; it has "
                f"{', '.join(dict.fromkeys(self.methods))}"
            )
        return self._of_rows(rows)

    def _of_rows(self, rows: list[int]) -> Self:
        at = np.asarray(rows)
        arrays = {one: getattr(self, one)[at] for one in ("basis", "kept", "centre", "gates")}
        told = {
            one: tuple(getattr(self, one)[i] for i in rows)
            for one in ("names", "methods", "proofs")
        }
        return replace(self, **arrays, **told)

    def proven(self) -> Self:
        """The conceptors alone that were measured to act as their names say (`steering.proof`).

        Raises:
            UserError: none was.
        """
        methods = ", ".join(dict.fromkeys(self.methods))
        return self._of_rows(proven_rows(methods, self.names, self.proofs))

    def dosed(self, size: ArrayLike) -> np.ndarray:
        """Float32 [V]: strengths that move each one's dimension by `size` [A], as measured.

        In executed action units a control step; 1 at most, the whole projection, and 0 for those
        that were not measured.
        """
        return np.minimum(doses(self.names, self.proofs, np.asarray(size)), 1.0)

    def operator(
        self,
        strength: ArrayLike,
        *,
        threshold: ArrayLike = -np.inf,
        tokens: tuple[str, ...] | None = None,
    ) -> Conceptor:
        """The operator at the bank's own site: `strength` [B, V], `threshold` as in the gate."""
        amount = np.asarray(strength, np.float32)
        return Conceptor.of(
            self.basis,
            self.kept,
            self.centre,
            amount,
            steered=self.metadata.layers,
            layers=self.layers,
            gate=ThresholdGate.of(threshold, np.asarray(self.gates), len(amount)),
            tokens=tokens,
            site=self.metadata.site,
        )
