"""A reader outside the forward: what it says of stored queries, in the order of the forward."""

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.errors import UserError
from mist_jax.intervention.reader import RiskReader
from mist_jax.risk.features import Samples
from mist_jax.risk.watched import query_number


def read(reader: RiskReader, samples: Samples, proprio: np.ndarray) -> np.ndarray:
    """Risk float32 [Q, M]; `proprio` [Q, proprio] is as the policy gets it, normalised.

    Queries of all episodes go together, first with first, so that memories pass as in a run.

    Raises:
        UserError: a site or layer that it reads is not stored.
    """
    number = query_number(samples)
    count = len(samples.episodes)
    memory, said = reader.no_memory(count), []
    places = []
    for n in range(int(number.max()) + 1):
        rows = np.flatnonzero(number == n)
        episodes = samples.episode[rows]
        kept = jax.tree.map(lambda leaf, e=episodes: leaf[e], memory)
        risk, after = reader.forecast(
            _reading(reader, samples, rows), jnp.asarray(proprio[rows], jnp.float32), kept
        )
        memory = jax.tree.map(lambda leaf, new, e=episodes: leaf.at[e].set(new), memory, after)
        said.append(np.asarray(risk))
        places.append(rows)
    return np.concatenate(said)[np.argsort(np.concatenate(places))]


def _reading(reader: RiskReader, samples: Samples, rows: np.ndarray):
    reading = reader.start(len(rows))
    for site in reader.sites:
        if site not in samples.sites:
            raise UserError(f"the reader reads {site}, which these samples do not hold")
        stored = samples.sites[site]
        for layer in range(int(reader.layer) + 1):
            if not bool(reader.reads(site, jnp.int32(layer))):
                continue
            if layer not in stored.layers:
                raise UserError(
                    f"the reader reads layer {layer} of {site}, which the dataset does not hold "
                    f"(it has {list(stored.layers)}); collect that layer too"
                )
            values = stored.values[rows, stored.layers.index(layer)].astype(np.float32)
            reading = reader.absorb(reading, site, jnp.int32(layer), jnp.asarray(values))
    return reading
