"""From the risks of single motions to that of any event."""

import numpy as np

CERTAIN = 1 - 1e-12  # as high as a risk counts


def any_event(risk: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """float [Q]: 1 - prod_m (1 - risk_m) over usable motions (bool [M]) of `risk` [Q, M].

    Motions are taken as independent given what is known; nan where none is usable.
    """
    if not usable.any():
        return np.full(len(risk), np.nan)
    return -np.expm1(_log_none(risk, usable))


def any_event_logit(risk: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """float [Q]: the log odds of `any_event`, exact also where it is next to 0 or 1.

    What alarm rules see of a detector of contacts; zero where no motion is usable.
    """
    if not usable.any():
        return np.zeros(len(risk))
    none = _log_none(risk, usable)
    return np.log(np.maximum(-np.expm1(none), 1e-12)) - none


def _log_none(risk: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """float [Q]: logarithm of the probability that no usable motion drives an event."""
    return np.log1p(-np.clip(risk[:, usable].astype(np.float64), 0.0, CERTAIN)).sum(axis=1)
