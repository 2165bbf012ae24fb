"""The risk head: reads pooled activations of early layers, says which motion is dangerous.

A plain pytree of arrays, so that it enters the policy's compiled forward as an argument and can be
replaced, retrained or switched off without retracing. Layers and calibration are data too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mist_jax.axes import Array, Bool, Float, Int
from mist_jax.intervention.forecast.hazard import horizon_logit, safe_logit
from mist_jax.intervention.forecast.risk_trunk import TRUNKS, Weights
from mist_jax.intervention.gate import is_concrete
from mist_jax.signed import MOTIONS, named

WINDOWS = 2  # parts of the horizon; by default one chunk of 8 control steps each


@struct.dataclass
class RiskHead:
    """An ensemble of hazard models that read the same sites; leaves start with [E]. A `RiskReader`.

    A member's features are u = concat over `sites` of sum_l gain[l] x[l], then gain x proprio, less
    `offset`: a normaliser and a choice (or mixture) of layers in one. Layers are numbered as in the
    model, so that L reaches from 0 to the last that any member reads. With `remembers` the trunk
    sees [u, u - u of the same episode's query before], the difference zero at the first query.

    The trunk (`kind`, one of `TRUNKS`) gives hazard logits [W, M], and they the logit that any
    window brings the event; a member's risk is sigmoid(platt_scale * logit + platt_shift). The
    ensemble's is sigmoid(ensemble_scale * logit(mean of the members') + ensemble_shift).
    `layer` -1 reads nothing and reports zero risk. All arrays float32, `layer` int32.
    """

    gain: Float[Array, "E L D"]  # D: widths of all sites, and of proprio (in row 0), side by side
    offset: Float[Array, "E D"]
    trunk: Weights
    platt_scale: Float[Array, "E M"]
    platt_shift: Float[Array, "E M"]
    ensemble_scale: Float[Array, "M"]
    ensemble_shift: Float[Array, "M"]
    layer: Int[Array, ""]
    sites: tuple[str, ...] = struct.field(pytree_node=False)
    widths: tuple[int, ...] = struct.field(pytree_node=False)
    proprio: int = struct.field(pytree_node=False, default=0)  # numbers of it that are read
    kind: str = struct.field(pytree_node=False, default="perceptron")
    remembers: bool = struct.field(pytree_node=False, default=False)
    pinned: tuple[int, ...] | None = struct.field(pytree_node=False, default=None)

    @classmethod
    def initial(
        cls,
        key: Array,
        *,
        sites: Mapping[str, int],
        layer: int,
        layers: int | None = None,
        proprio: int = 0,
        members: int = 1,
        hidden: int = 64,
        windows: int = WINDOWS,
        kind: str = "perceptron",
        remembers: bool = False,
    ) -> Self:
        """A fresh head with unit calibration that reads `layer` of each of `sites` (to widths).

        `key` is a JAX PRNG key; `layers` is L, `layer` + 1 by default.
        """
        width, motions = sum(sites.values()) + proprio, MOTIONS
        depth = max(layer + 1, 1) if layers is None else layers
        read = np.zeros((members, depth, width), np.float32)
        read[:, layer] = 1.0
        read[:, :, width - proprio :] = 0.0
        read[:, 0, width - proprio :] = 1.0
        inputs = width * (2 if remembers else 1)

        def fresh(key: Array) -> Weights:
            return TRUNKS[kind].initial(
                key, inputs=inputs, hidden=hidden, windows=windows, motions=motions
            )

        return cls(
            gain=jnp.asarray(read),
            offset=jnp.zeros((members, width)),
            trunk=jax.vmap(fresh)(jax.random.split(key, members)),
            platt_scale=jnp.ones((members, motions)),
            platt_shift=jnp.zeros((members, motions)),
            ensemble_scale=jnp.ones((motions,)),
            ensemble_shift=jnp.zeros((motions,)),
            layer=jnp.asarray(layer, jnp.int32),
            sites=tuple(sites),
            widths=tuple(sites.values()),
            proprio=proprio,
            kind=kind,
            remembers=remembers,
        )

    @classmethod
    def off(cls, *, sites: Mapping[str, int], **shape: Any) -> Self:
        """A head that reads nothing and reports zero risk; `shape` as of `initial`.

        Made like another head, it takes that one's place without a new trace.
        """
        depth = shape.pop("layers", None) or 1
        head = cls.initial(jax.random.key(0), sites=sites, layer=-1, layers=depth, **shape)
        return head.switched_off()

    def switched_off(self) -> Self:
        """This head, reading nothing."""
        return jax.tree.map(jnp.zeros_like, self).replace(layer=jnp.asarray(-1, jnp.int32))

    def pin(self) -> Self:
        """This head with its layers static: see `RiskReader`."""
        read = np.asarray(self.gain)[..., : sum(self.widths)]
        layers = {*np.flatnonzero(read.any((0, 2))).tolist(), int(self.layer)} - {-1}
        return dataclasses.replace(self, pinned=tuple(sorted(layers)))

    def start(self, batch: int) -> dict[str, Array]:
        """Zeros [B, E, D] for each site."""
        members = len(self.gain)
        sized = zip(self.sites, self.widths, strict=True)
        return {site: jnp.zeros((batch, members, width), jnp.float32) for site, width in sized}

    def reads(self, site: str, layer: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether any member has a gain there."""
        return (self._gain(site, layer) != 0).any() & (self.layer >= 0)

    def absorb(
        self,
        reading: dict[str, Array],
        site: str,
        layer: Int[Array, ""],
        activation: Float[Array, "B D"],
    ) -> dict[str, Array]:
        """Adds gain times activation; a layer without gain adds nothing."""
        more = activation.astype(jnp.float32)[:, None] * self._gain(site, layer)
        return {**reading, site: reading[site] + more}

    def features(
        self, reading: dict[str, Array], proprio: Float[Array, "B proprio"]
    ) -> Float[Array, "B E inputs"]:
        """What the trunk sees of this query alone."""
        parts = [reading[site] for site in self.sites]
        if self.proprio:
            gain = self.gain[:, 0, -self.proprio :]
            parts.append(proprio.astype(jnp.float32)[:, None] * gain)
        return jnp.concatenate(parts, axis=-1) - self.offset

    def forecast(
        self,
        reading: dict[str, Array],
        proprio: Float[Array, "B proprio"],
        memory: dict[str, Array],
    ) -> tuple[Float[Array, "B M"], dict[str, Array]]:
        """Calibrated probability that each signed motion drives a harmful event, and the memory."""
        score, memory = self.scores(self.features(reading, proprio), memory)
        member = jax.nn.sigmoid(self.platt_scale * score + self.platt_shift)
        mean = safe_logit(member.mean(axis=1))
        risk = jax.nn.sigmoid(self.ensemble_scale * mean + self.ensemble_shift)
        return jnp.where(self.layer >= 0, risk, 0.0), memory

    def scores(
        self, features: Float[Array, "B E inputs"], memory: dict[str, Array]
    ) -> tuple[Float[Array, "B E M"], dict[str, Array]]:
        """Uncalibrated logits of each member, and the memory for the next query."""
        seen, x = memory["seen"], features
        if self.remembers:
            since = jnp.where(memory["started"][:, None, None] > 0, features - seen, 0.0)
            seen, x = features, jnp.concatenate([features, since], axis=-1)
        trunk = jax.vmap(TRUNKS[self.kind], in_axes=(0, 1, 1), out_axes=(1, 1))
        hazard, state = trunk(self.trunk, x, memory["state"])
        started = jnp.ones_like(memory["started"])
        return horizon_logit(hazard), {"started": started, "seen": seen, "state": state}

    def no_memory(self, batch: int) -> dict[str, Array]:
        """Zeros: whether the episode has begun [B], features seen [B, E, *], state [B, E, F]."""
        members, inputs = self.offset.shape
        one = jax.tree.map(lambda leaf: leaf[0], self.trunk)
        state = TRUNKS[self.kind].state_width(one)
        return {
            "started": jnp.zeros((batch,), jnp.float32),
            "seen": jnp.zeros((batch, members, inputs if self.remembers else 0), jnp.float32),
            "state": jnp.zeros((batch, members, state), jnp.float32),
        }

    def _gain(self, site: str, layer: Int[Array, ""]) -> Float[Array, "E D"]:
        """Zeros for a site that is not read, and beyond the last layer that is."""
        if site not in self.sites:
            return jnp.zeros((len(self.gain), 1), jnp.float32)
        at = self.sites.index(site)
        begin = sum(self.widths[:at])
        here = self.gain[:, :, begin : begin + self.widths[at]]
        # An index outside would otherwise be that of the last layer.
        known = (layer >= 0) & (layer < self.gain.shape[1])
        return jnp.where(known, here[:, jnp.clip(layer, 0, self.gain.shape[1] - 1)], 0.0)

    def __repr__(self) -> str:
        """Short; `motions` are those whose calibration listens to the logits."""
        sizes = zip(self.sites, self.widths, strict=True)
        shown = f"{self.kind}, sites={', '.join(f'{site} ({width})' for site, width in sizes)}"
        scale = self.ensemble_scale
        if isinstance(scale, np.ndarray | jax.Array) and is_concrete(scale):  # not under a trace
            names = named(np.any(np.asarray(scale).reshape(-1, MOTIONS), axis=0).tolist())
            layer = np.asarray(self.layer).tolist()
            members = np.shape(self.gain)[0]
            shown += f", members={members}, layer={layer}, motions={', '.join(names) or 'none'}"
        return f"RiskHead({shown})"
