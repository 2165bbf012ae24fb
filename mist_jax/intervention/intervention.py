"""What one forward reads and writes: a risk reader, and operators that act under their gates.

An architecture calls `begin` before its first layer (with the sites that are known by then), `edit`
at every steerable place of a layer, `read` at every site of it and `forecast` at its end, and
`finish` after the last (with the sites that come later). Risk is forecast after one layer and opens
the gates of later ones in the same pass.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct

from mist_jax.axes import SIGNED_MOTIONS, Array, Bool, Float, Int
from mist_jax.intervention.gate import UNREAD
from mist_jax.intervention.operator import Operator, edit_activations
from mist_jax.intervention.reader import RiskReader

Stacks = Mapping[str, Float[Array, "B L D"]]
NO_STACKS: Stacks = MappingProxyType({})


class Known(NamedTuple):
    """What is known of a layer before anything runs: True, False, or None: arrays will say.

    Where the answer is known, the device need not be asked, for which it would have to stop.
    """

    reads: bool | None  # or forecasts
    acts: tuple[bool | None, ...] | None  # each operator; None: of none is anything known


UNKNOWN = Known(None, None)


@struct.dataclass
class ReadSoFar:
    """What one forward has read: part of its carry. All but `risk` is None without a reader."""

    risk: Float[Array, "B M"]  # as gates see it: UNREAD before the forecast
    reading: Any = None
    memory: Any = None  # for the next query, once the forecast is made
    proprio: Float[Array, "B proprio"] | None = None


@struct.dataclass
class Intervention:
    """A pytree; what is not there (no reader, no operator at a place) costs nothing.

    `memory` is the reader's, of each example's own query before; None: these are first queries.
    """

    risk_head: RiskReader | None
    operators: tuple[Operator, ...] = ()
    memory: Any = None

    @classmethod
    def of(cls, risk_head: RiskReader | None, *operators: Operator, memory: Any = None) -> Self:
        """With every array's dtype made definite: a weakly typed one would retrace the forward."""
        return jax.tree.map(_definite, cls(risk_head, operators, memory))

    @property
    def steers(self) -> bool:
        """Whether anything may change activations."""
        return bool(self.operators)

    @property
    def reads(self) -> tuple[str, ...]:
        """The sites that the risk reader reads."""
        return () if self.risk_head is None else self.risk_head.sites

    def layered(self) -> tuple[Any, ...]:
        """What the operators need at each layer, every leaf [L, ...]: the inputs of a scan."""
        return tuple(operator.layered() for operator in self.operators)

    def begin(self, proprio: Float[Array, "B proprio"], known: Stacks = NO_STACKS) -> ReadSoFar:
        """Before the first layer; `known` are sites that come before it, all their layers.

        A reader that needs nothing else forecasts here, and so opens the gates of every layer.
        """
        batch, reader = len(proprio), self.risk_head
        risk = jnp.full((batch, len(SIGNED_MOTIONS)), UNREAD, jnp.float32)
        if reader is None:
            return ReadSoFar(risk)
        memory = reader.no_memory(batch) if self.memory is None else self.memory
        so_far = ReadSoFar(risk, reader.start(batch), memory, proprio.astype(jnp.float32))
        so_far = self._read_stacks(known, so_far)
        return self._forecast_now(so_far) if set(self.reads) <= set(known) else so_far

    def acts_at(self, place: str) -> bool:
        """Whether any operator may act there; where none does, `edit` need not be called."""
        return any(operator.site == place for operator in self.operators)

    def known_at(self, layer: int) -> Known:
        """What is static about a layer of the language model."""
        pinned = (getattr(self.risk_head, "pinned", None), *(one.pinned for one in self.operators))
        reads, *acts = (None if layers is None else layer in layers for layers in pinned)
        return Known(reads, tuple(acts))

    def edit(
        self,
        place: str,
        hidden: Float[Array, "B T D"],
        parts: Sequence[Any],
        risk: Float[Array, "B M"],
        token_role: Float[Array, "B T R"],
        present: Bool[Array, "B T"] | None = None,
        known: Known = UNKNOWN,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B"] | float, Float[Array, "B A"] | None]:
        """A place's activations after its operators, by how much they moved, and what was wanted.

        `present`: the tokens that are computed at all, where a last layer leaves out those that
        nobody reads; the others are not acted on, and count for nothing. The last output is None
        where no operator of this place thinks of actions.
        """
        told = known.acts or (None,) * len(self.operators)
        triples = zip(self.operators, parts, told, strict=True)
        here = [triple for triple in triples if triple[0].site == place]
        if not here:
            return hidden, 0.0, None
        pairs = [(operator, part) for operator, part, _ in here]
        acts = [acts for *_, acts in here]
        return edit_activations(hidden, pairs, risk, token_role, present, acts)

    def read(
        self,
        site: str,
        layer: Int[Array, ""],
        activation: Callable[[], Float[Array, "B D"]],
        so_far: ReadSoFar,
        known: Known = UNKNOWN,
    ) -> ReadSoFar:
        """What the reader makes of one layer of a site; not even pooled where it needs none."""
        reader = self.risk_head
        if reader is None or site not in reader.sites or known.reads is False:
            return so_far
        reading = _where(
            reader.reads(site, layer),
            lambda: reader.absorb(so_far.reading, site, layer, activation()),
            lambda: so_far.reading,
            both=known.reads,
        )
        return dataclasses.replace(so_far, reading=reading)

    def forecast(
        self, layer: Int[Array, ""], so_far: ReadSoFar, known: Known = UNKNOWN
    ) -> ReadSoFar:
        """The risk from here on: at the end of the reader's own layer, of what it has read."""
        reader = self.risk_head
        if reader is None or known.reads is False:
            return so_far
        risk, memory = _where(
            layer == reader.layer,
            lambda: self._forecast(so_far),
            lambda: (so_far.risk, so_far.memory),
            both=known.reads,
        )
        return dataclasses.replace(so_far, risk=risk, memory=memory)

    def finish(self, so_far: ReadSoFar, known: Stacks = NO_STACKS) -> ReadSoFar:
        """After the last layer; `known` are sites that come after it, all their layers.

        A reader of any of them forecasts here, too late for gates. Risk that nobody forecast is 0.
        """
        if set(self.reads) & set(known):
            so_far = self._forecast_now(self._read_stacks(known, so_far))
        return dataclasses.replace(so_far, risk=jnp.where(so_far.risk == UNREAD, 0.0, so_far.risk))

    def _read_stacks(self, stacks: Stacks, so_far: ReadSoFar) -> ReadSoFar:
        for site in self.reads:
            if site in stacks:
                layers = stacks[site].swapaxes(0, 1)

                def one(so_far: ReadSoFar, each: tuple, site: str = site) -> tuple[ReadSoFar, None]:
                    return self.read(site, each[0], lambda: each[1], so_far), None

                so_far, _ = jax.lax.scan(one, so_far, (jnp.arange(len(layers)), layers))
        return so_far

    def _forecast_now(self, so_far: ReadSoFar) -> ReadSoFar:
        assert self.risk_head is not None
        risk, memory = jax.lax.cond(
            self.risk_head.layer >= 0,
            lambda: self._forecast(so_far),
            lambda: (so_far.risk, so_far.memory),
        )
        return dataclasses.replace(so_far, risk=risk, memory=memory)

    def _forecast(self, so_far: ReadSoFar) -> tuple[Float[Array, "B M"], Any]:
        """From the memory that came with the query: forecasting twice is forecasting once."""
        reader, memory = self.risk_head, self.memory
        assert reader is not None
        assert so_far.proprio is not None
        if memory is None:
            memory = reader.no_memory(len(so_far.risk))
        risk, memory = reader.forecast(so_far.reading, so_far.proprio, memory)
        return risk.astype(jnp.float32), memory


def _where(
    chosen: Bool[Array, ""], yes: Callable[[], Any], no: Callable[[], Any], *, both: bool | None
) -> Any:
    """One of two pytrees. `both` computes either, so that the device goes on without an answer."""
    if both:
        return jax.tree.map(lambda one, other: jnp.where(chosen, one, other), yes(), no())
    return jax.lax.cond(chosen, yes, no)


def _definite(leaf: Any) -> Any:
    """An array whose dtype is its own; one that is so already is not touched, as most are."""
    if isinstance(leaf, jax.Array) and not leaf.weak_type:
        return leaf
    return jnp.asarray(leaf, jnp.result_type(leaf))


NO_INTERVENTION = Intervention(None)
