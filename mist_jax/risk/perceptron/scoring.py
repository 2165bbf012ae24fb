"""What members say of every query, by the very code that runs inside the forward."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.risk.calibration.platt import Platt
from mist_jax.risk.detector import Member
from mist_jax.risk.features import StoredSite
from mist_jax.risk.perceptron.batches import PaddedRows

FRONT = ("gain", "offset", "layer")  # of a member's arrays; the others are its trunk's weights
QUERIES_AT_ONCE = 16384


def head_of(
    members: Sequence[Member],
    sites: Mapping[str, StoredSite],
    kind: str,
    remembers: bool,
    platts: Sequence[Platt] = (),
    ensemble: Platt | None = None,
) -> RiskHead:
    """The members as one ensemble; calibrations are the identity where none are given."""
    stacked = {name: jnp.stack([jnp.asarray(one[name]) for one in members]) for name in members[0]}
    motions = stacked["output_bias"].shape[-1]
    identity = Platt(np.ones(motions, np.float32), np.zeros(motions, np.float32))
    own, whole = platts or [identity] * len(members), ensemble or identity
    return RiskHead(
        gain=stacked["gain"],
        offset=stacked["offset"],
        trunk={name: leaf for name, leaf in stacked.items() if name not in FRONT},
        platt_scale=jnp.stack([jnp.asarray(platt.scale, jnp.float32) for platt in own]),
        platt_shift=jnp.stack([jnp.asarray(platt.shift, jnp.float32) for platt in own]),
        ensemble_scale=jnp.asarray(whole.scale, jnp.float32),
        ensemble_shift=jnp.asarray(whole.shift, jnp.float32),
        layer=stacked["layer"].max(),
        sites=tuple(sites),
        widths=tuple(site.values.shape[-1] for site in sites.values()),
        kind=kind,
        remembers=remembers,
    )


def features_of(sites: Mapping[str, StoredSite], member: Member, reads: str) -> np.ndarray:
    """Float32 [Q, D]: the member's features of every query; `reads` names who asks.

    Raises:
        UserError: a layer that the member reads is not stored, or a site has another width.
    """
    gain, offset = np.asarray(member["gain"]), np.asarray(member["offset"])
    widths = [site.values.shape[-1] for site in sites.values()]
    if sum(widths) != gain.shape[-1]:
        found = ", ".join(f"{name} ({width})" for name, width in zip(sites, widths, strict=True))
        raise UserError(
            f"{reads} was trained on {gain.shape[-1]} features, the dataset's are {found}; collect "
            "the sites that it was trained on"
        )
    parts, begin = [], 0
    for name, site in sites.items():
        here = slice(begin, begin := begin + site.values.shape[-1])
        total = np.tile(-offset[here], (len(site.values), 1))
        for layer in np.flatnonzero(gain[:, here].any(axis=1)):
            if layer not in site.layers:
                raise UserError(
                    f"{reads} reads layer {layer} of {name}, which the dataset does not hold (it "
                    f"has {list(site.layers)}); collect that layer too"
                )
            total += site.values[:, site.layers.index(layer)] * gain[layer, here]
        parts.append(total)
    return np.concatenate(parts, axis=-1)


def head_scores(head: RiskHead, features: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Uncalibrated logits [Q, M] of the first member, each query after those of its episode.

    `features` are [Q, D]; `episode` int [Q], whose queries stand together in time's order.
    """
    whole = PaddedRows.episodes(episode)
    at_once = max(1, QUERIES_AT_ONCE // whole.rows.shape[1])
    scores = np.zeros((len(features), head.platt_scale.shape[-1]), np.float32)
    for start in range(0, len(whole.rows), at_once):
        rows, here = whole.rows[start : start + at_once], whole.here[start : start + at_once]
        short = at_once - len(rows) if start else 0  # one shape, one compilation
        padded = np.pad(rows, ((0, short), (0, 0)))
        found = np.asarray(_unrolled(head, jnp.asarray(features[padded])))[: len(rows)]
        scores[rows[here]] = found[here]
    return scores


@jax.jit
def _unrolled(head: RiskHead, features: Float[Array, "B Q D"]) -> Float[Array, "B Q M"]:
    def query(memory, u):
        score, memory = head.scores(u[:, None], memory)
        return memory, score[:, 0]

    memory = head.no_memory(len(features))
    _, scores = jax.lax.scan(query, memory, jnp.swapaxes(features, 0, 1))
    return jnp.swapaxes(scores, 0, 1)
