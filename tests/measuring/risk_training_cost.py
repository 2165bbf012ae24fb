"""What the training of risk heads costs: synthetic queries, every layer, time and peak memory.

python -m tests.measuring.risk_training_cost --size=100000x4096x33 --memory_gib=8
python -m tests.measuring.risk_training_cost --size=90000x768x4 --kinds=linear,perceptron,recurrent
"""

import argparse
import resource
import time
from dataclasses import replace

import jax
import numpy as np

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.risk.features import StoredSite
from mist_jax.risk.perceptron.choices import Choice, mixture_choice
from mist_jax.risk.perceptron.epochs import Learner
from mist_jax.risk.perceptron.training import Lesson, fit_choices, layers_that_fit
from mist_jax.risk.plan import TrainConfig
from mist_jax.risk.splits import Rows

SITE, LENGTH, FOLDS, RESERVED = "llm.resid", 20, 5, 8
BLOCK = 4096  # queries drawn at once


def lesson_of(values: np.ndarray, rng: np.random.Generator) -> Lesson:
    """A tenth of the queries positive, by two features of the middle layer."""
    queries, layers, _ = values.shape
    known = values[:, layers // 2, :2].astype(np.float32) @ np.asarray([1.4, 0.7]) - 3
    event = np.zeros((queries, 2, len(SIGNED_MOTIONS)), bool)
    event[:, 0] = rng.random((queries, event.shape[2])) < (1 / (1 + np.exp(-known)))[:, None]
    at_risk = np.ones_like(event)
    at_risk[:, 1] = ~event[:, 0]
    episode = np.arange(queries) // LENGTH
    part = rng.permutation(episode[-1] + 1)[episode] % RESERVED
    fold = np.where(part < 2, -1, (part * 7 + episode) % FOLDS)
    members = [
        Rows((fold >= 0) & (fold != k) & (fold != (k + 1) % FOLDS), fold == (k + 1) % FOLDS)
        for k in range(FOLDS)
    ]
    return Lesson(event, at_risk, members, episode)


def activations(queries: int, width: int, layers: int, rng: np.random.Generator) -> np.ndarray:
    """float16 [Q, L, D]; the middle layer is of its query, others of other queries."""
    values = np.empty((queries, layers, width), np.float16)
    for start in range(0, queries, BLOCK):
        block = rng.standard_normal((len(values[start : start + BLOCK]), width), np.float32)
        for layer in range(layers):
            shift = 7 * (layer - layers // 2)
            values[start : start + BLOCK, layer] = np.roll(block, shift, axis=0)
    return values


def main() -> None:
    """Prints a line per kind of trunk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="90000x768x4", help="queries x width x layers")
    parser.add_argument("--kinds", default="perceptron")
    parser.add_argument("--memory_gib", type=float, default=8)
    parser.add_argument("--mixture", type=int, default=1, help="0: fixed layers alone")
    parser.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    asked = parser.parse_args()
    queries, width, layers = (int(part) for part in asked.size.split("x"))
    rng = np.random.default_rng(0)
    values = activations(queries, width, layers, rng)
    lesson = lesson_of(values, rng)
    sites = {SITE: StoredSite(tuple(range(layers)), values)}
    fixed = [Choice(f"layer {layer}", ((layer,),)) for layer in range(layers)]
    config = replace(TrainConfig(), epochs=asked.epochs, memory_limit=int(asked.memory_gib * 2**30))
    for kind in asked.kinds.split(","):
        learner = Learner(kind, kind != "recurrent", config)
        begin, busy = time.perf_counter(), time.process_time()
        fitted = fit_choices(sites, fixed, lesson, learner)
        line = f"{kind}, {asked.size}: fixed layers {time.perf_counter() - begin:.1f} s"
        if asked.mixture and layers > 1:
            mixture = mixture_choice(fixed, layers_that_fit(sites, fixed, lesson, learner))
            if mixture is not None:
                fit_choices(sites, [mixture], lesson, learner)
                line += f", with a mixture of {mixture.layers} {time.perf_counter() - begin:.1f} s"
        best = int(np.argmin(fitted.loss.mean(axis=(1, 2))))
        print(
            f"{line}, processor {time.process_time() - busy:.0f} s, best layer {best} of "
            f"{layers} (planted {layers // 2}), {peak()}"
        )


def peak() -> str:
    """Peak memory so far, of the device where it tells."""
    device = jax.devices()[0]
    counted = device.memory_stats() or {}
    if "peak_bytes_in_use" in counted:
        return f"{device.device_kind} peak {counted['peak_bytes_in_use'] / 2**30:.2f} GiB"
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{device.device_kind}, process peak {host:.2f} GiB"


if __name__ == "__main__":
    main()
