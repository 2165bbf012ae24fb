"""Episodes of which some fail, some hit something and some crash, with activations that know it."""

import numpy as np

from mist_jax.risk.features import Samples, gather_samples
from tests.helpers.synthetic_episodes import SITE, contact, episode

WIDTH, SHORTEST, LAST = 12, 10, 3
HIT = 35  # control step of the contact in every other episode


def samples_of(
    failure: float, event: float, *, outcome: str = "", count: int = 60, seed: int = 0
) -> Samples:
    """Two episodes in five fail and run to the cap of 22 queries; one in five crashes.

    In a failure the last layer's first feature lies `failure` higher, at the queries within 16
    steps of the contact of every other episode its second lies `event` higher.
    """
    rng = np.random.default_rng(seed)
    made = []
    for scene in range(count):
        of = outcome or ("failure", "crashed", "success", "failure", "success")[scene % 5]
        queries = 22 if of == "failure" else SHORTEST + scene // 20
        activation = rng.normal(size=(queries, 2, WIDTH)).astype(np.float32)
        activation[:, 1, 0] += failure * (of == "failure")
        hit = scene // 5 % 2 == 0
        ahead = HIT - 8 * np.arange(queries)
        activation[:, 1, 1] += event * (hit & (ahead >= 0) & (ahead < 16))
        made.append(
            episode(
                [contact(HIT, {0: 1.0})] if hit else [],
                length=8 * queries,
                task=scene // 5 % 3,
                state=scene,
                outcome=of,
                activation=activation,
                layers=(1, LAST),
            )
        )
    return gather_samples(made, SITE)
