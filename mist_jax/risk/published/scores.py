"""Failure detectors that others have published, fitted on the folds that judge the risk head.

All four are of SAFE (Gu et al., arXiv 2506.09937) and read the last stored layer, mean over the
action tokens. Higher means that the episode is more likely to fail. Episodes that crashed are
neither learnt from nor scored. Nothing is drawn but initial weights, always with the same seed.
"""

from collections.abc import Callable

import numpy as np

from mist_jax.risk.features import Samples
from mist_jax.risk.published.distances import cosine_scores, mahalanobis_scores
from mist_jax.risk.published.networks import SAFE_LSTM, SAFE_MLP, Network, Sequences, fit_network
from mist_jax.risk.splits import Folds
from mist_jax.risk.train import normaliser

MLP = "SAFE-MLP"
STEPWISE = "SAFE-MLP per query"  # the same network; a running sum is partly a clock
LSTM = "SAFE-LSTM"
MAHALANOBIS = "Mahalanobis"
COSINE = "cosine kNN"
NAMES = (MLP, STEPWISE, LSTM, MAHALANOBIS, COSINE)
WORK = SAFE_MLP.epochs + SAFE_LSTM.epochs  # what `progress` adds up to


def published_scores(
    samples: Samples,
    folds: Folds,
    progress: Callable[[int, str], None] = lambda done, detector: None,
) -> dict[str, np.ndarray]:
    """Scores [Q] of every query by detectors that saw nothing of its fold.

    nan where there is none: in crashed episodes, and in folds whose training episodes lack failures
    or successes. `progress` is told how much more of WORK is done, by which detector.
    """
    scores = {name: np.full(len(samples), np.nan) for name in NAMES}
    ended, failed = outcomes(samples)
    assigned = np.arange(folds.count)[:, None]
    test = (folds.fold == assigned) & ended
    validation = (folds.fold == (assigned + 1) % folds.count) & ended
    train = ended & ~test & ~validation
    fits = np.flatnonzero((train & failed).any(axis=1) & (train & ~failed).any(axis=1))
    if len(fits) == 0:
        progress(WORK, "nothing to learn from")
        return scores
    activation = samples.activation[:, int(np.argmax(samples.layers))]
    position = np.concatenate([np.arange(n) for n in np.bincount(samples.episode)])
    here = np.zeros((len(samples.episodes), position.max() + 1), bool)
    here[samples.episode, position] = True
    x = np.zeros((len(fits), *here.shape, activation.shape[1]), np.float32)
    for number, k in enumerate(fits):
        known = train[k][samples.episode]
        mean, scale = normaliser(activation[known])
        normal = (activation - mean) / scale
        x[number][here] = normal
        lost = failed[samples.episode]
        rows = test[k][samples.episode]
        for name, score in ((MAHALANOBIS, mahalanobis_scores), (COSINE, cosine_scores)):
            scores[name][rows] = score(normal[known & ~lost], normal[known & lost], normal[rows])
    sequences = Sequences(x, here, failed, train[fits], validation[fits])
    tested = test[fits][:, samples.episode]

    def out_of_fold(name: str, network: Network) -> np.ndarray:
        """Logits [B, queries of an episode] of each episode by the member that tests it."""
        logits = fit_network(network, sequences, 0, lambda epochs: progress(epochs, name))
        return np.where(test[fits][:, :, None], logits, 0.0).sum(axis=0)

    scored, at = tested.any(axis=0), (samples.episode, position)
    each = _sigmoid(out_of_fold(MLP, SAFE_MLP))
    by_network = {
        MLP: np.cumsum(each, axis=1)[at],
        STEPWISE: each[at],
        LSTM: _sigmoid(out_of_fold(LSTM, SAFE_LSTM))[at],
    }
    for name, score in by_network.items():
        scores[name][scored] = score[scored]
    return scores


def outcomes(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Which episodes ended (did not crash) and which of those failed, bool [episodes] each."""
    of = np.asarray([facts.outcome for facts in samples.episodes])
    return of != "crashed", of == "failure"


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
