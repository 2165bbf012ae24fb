"""A risk reader of the tests' own: several sites, and a memory that shows which query it is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mist_jax.signed import MOTIONS


@struct.dataclass
class ToyReader:
    """logit = sum over sites of x[site, at] @ kernel + sum(proprio) + half the last one's logit.

    The memory holds that logit and how many queries there were before; every query adds `drift`.
    """

    kernels: tuple[Any, ...]  # [D, M] of each site
    at: Any  # int [sites], the layer of each
    drift: Any
    layer: Any
    sites: tuple[str, ...] = struct.field(pytree_node=False)

    @classmethod
    def of(cls, sites: dict[str, tuple[int, int]], layer: int, seed: int = 0) -> "ToyReader":
        """`sites` to their layer and width; random kernels."""
        rng = np.random.default_rng(seed)
        kernels = [rng.normal(size=(width, MOTIONS)) / width**0.5 for _, width in sites.values()]
        return cls(
            kernels=tuple(jnp.asarray(kernel, jnp.float32) for kernel in kernels),
            at=jnp.asarray([at for at, _ in sites.values()], jnp.int32),
            drift=jnp.asarray(0.25, jnp.float32),
            layer=jnp.asarray(layer, jnp.int32),
            sites=tuple(sites),
        )

    @property
    def widths(self):
        return tuple(kernel.shape[0] for kernel in self.kernels)

    def start(self, batch):
        return jnp.zeros((batch, MOTIONS))

    def reads(self, site, layer):
        return layer == self.at[self.sites.index(site)]

    def absorb(self, reading, site, layer, activation):
        return reading + activation @ self.kernels[self.sites.index(site)]

    def forecast(self, reading, proprio, memory):
        logit = reading + proprio.sum(-1, keepdims=True) + 0.5 * memory["logit"]
        logit += self.drift * memory["queries"][:, None]
        return jax.nn.sigmoid(logit), {"logit": logit, "queries": memory["queries"] + 1}

    def no_memory(self, batch):
        return {"logit": jnp.zeros((batch, MOTIONS)), "queries": jnp.zeros(batch)}


def risk_of_stored(reader: Any, stored: Any, proprio: Any, memory: Any = None) -> Any:
    """What a reader says of whole stored activations, site -> [B, L, D], outside any forward."""
    reading = reader.start(len(proprio))
    for site in reader.sites:
        for layer in range(stored[site].shape[1]):
            if reader.reads(site, jnp.asarray(layer)):
                one = jnp.asarray(stored[site][:, layer])
                reading = reader.absorb(reading, site, jnp.asarray(layer), one)
    memory = reader.no_memory(len(proprio)) if memory is None else memory
    return reader.forecast(reading, jnp.asarray(proprio), memory)[0]


def toy_risk(reader: ToyReader, stored: Any, proprio: Any, memory: Any = None) -> tuple[Any, Any]:
    """The same in numpy, from whole stored activations: site -> [B, L, D]."""
    batch = len(proprio)
    memory = memory or {"logit": np.zeros((batch, MOTIONS)), "queries": np.zeros(batch)}
    logit = np.asarray(proprio, np.float64).sum(-1, keepdims=True) + 0.5 * memory["logit"]
    logit = logit + 0.25 * np.asarray(memory["queries"])[:, None]
    for site, kernel, at in zip(reader.sites, reader.kernels, reader.at, strict=True):
        logit = logit + np.asarray(stored[site], np.float64)[:, int(at)] @ np.asarray(kernel)
    return 1 / (1 + np.exp(-logit)), {"logit": logit, "queries": memory["queries"] + 1}
