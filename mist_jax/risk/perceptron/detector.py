"""Hazard heads as detectors of contacts: one per fold, of the layers its select rows like best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mist_jax.risk.detector import Claim, Fit, Member, Progress
from mist_jax.risk.features import Samples, StoredSite
from mist_jax.risk.perceptron.choices import (
    Choice,
    fixed_choices,
    gains,
    mixture_choice,
    read_until,
)
from mist_jax.risk.perceptron.scoring import features_of, head_of, head_scores
from mist_jax.risk.perceptron.training import (
    Fitted,
    Learner,
    Lesson,
    fit_choices,
    layers_that_fit,
)
from mist_jax.risk.plan import Plan

INPUTS = "inputs"  # the only site of a detector that looks at none of the model's


@dataclass(frozen=True, kw_only=True)
class HeadFit(Fit):
    """The members, and the choices of layers that they were made of.

    `loss` is float [C, K]: of each choice's best trial on the select rows of each fold.
    """

    choices: tuple[str, ...]
    loss: np.ndarray
    chosen: tuple[str, ...]  # [K]


@dataclass(frozen=True)
class HazardDetector:
    """A head per fold; `kind` is its trunk's name.

    With `remembers` it sees how the features changed since the query before; with `mixes` a learned
    mixture of layers is tried beside each fixed one.
    """

    name: str
    kind: str = "perceptron"
    remembers: bool = False
    mixes: bool = False
    claims: Claim = "contact"

    def read(self, samples: Samples) -> Mapping[str, StoredSite]:
        """What it reads of the table, the main site first: every stored site."""
        return samples.sites

    @property
    def learner(self) -> str:
        """Its own."""
        return self.name

    def epochs(self, plan: Plan) -> int:
        """Those of all layers together; that they go in turns does not count."""
        return plan.train.epochs

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> HeadFit:
        """Heads of all layers, folds and trials at once; select rows stop and choose."""
        sites = self.read(samples)
        event, at_risk = samples.label.hazard(plan.train.windows)
        rows = [plan.folds.labelled(k, samples) for k in range(plan.folds.count)]
        lesson = Lesson(event & plan.usable, at_risk & plan.usable, rows, samples.episode)
        learner = Learner(self.kind, self.remembers, plan.train)
        main = samples.site if samples.site in sites else next(iter(sites))
        groups = self._groups(sites, fixed_choices(sites, main, plan), lesson, learner)
        told = _Told(progress, self.epochs(plan) / len(groups))
        every: list[tuple[Choice, Fitted, int]] = []
        for group in groups:
            fitted = fit_choices(sites, group, lesson, learner, told)
            every += [(choice, fitted, c) for c, choice in enumerate(group)]
        loss = np.stack([fitted.loss[c].min(axis=-1) for _, fitted, c in every])  # [C, K]
        depth = max(max(sites[name].layers) for name in sites) + 1
        members = []
        for k, best in enumerate(np.argmin(loss, axis=0)):
            choice, fitted, c = every[best]
            at = (c, k, int(np.argmin(fitted.loss[c, k])))
            members.append(_member(sites, choice, fitted, at, depth))
        names = tuple(choice.name for choice, _, _ in every)
        chosen = tuple(names[at] for at in np.argmin(loss, axis=0))
        return HeadFit(
            members=members,
            choices=names,
            loss=loss,
            chosen=chosen,
        )

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Uncalibrated logits [Q, M] of an event within the horizon."""
        sites = self.read(samples)
        features = features_of(sites, member, self.name)
        head = head_of([member], sites, self.kind, self.remembers)
        return head_scores(head, features, samples.episode)

    def _groups(
        self,
        sites: Mapping[str, StoredSite],
        fixed: list[Choice],
        lesson: Lesson,
        learner: Learner,
    ) -> list[list[Choice]]:
        """Choices that read equally many layers are fitted together."""
        if not self.mixes or len(fixed) < 2:
            return [fixed]
        mixture = mixture_choice(fixed, layers_that_fit(sites, fixed, lesson, learner))
        return [fixed] if mixture is None else [fixed, [mixture]]


@dataclass(frozen=True)
class Perceptron(HazardDetector):
    """The same learner on what needs no look inside the model: `inputs` gives float [Q, F]."""

    inputs: Callable[[Samples], np.ndarray] = lambda samples: samples.state

    def read(self, samples: Samples) -> Mapping[str, StoredSite]:
        """The inputs, as a site of one layer."""
        return {INPUTS: StoredSite((0,), self.inputs(samples)[:, None])}


class _Told:
    """Passes shares of the work on as whole epochs."""

    def __init__(self, progress: Progress, epochs: float):
        self._progress, self._epochs = progress, epochs
        self._done, self._said = 0.0, 0

    def __call__(self, share: float) -> None:
        self._done += share * self._epochs
        whole = int(self._done + 1e-6) - self._said
        if whole:
            self._progress(whole)
            self._said += whole


def _member(
    sites: Mapping[str, StoredSite],
    choice: Choice,
    fitted: Fitted,
    at: tuple[int, int, int],
    depth: int,
) -> Member:
    """One head's arrays, its normaliser and its layers folded into gain and offset."""
    c, k, _ = at
    mixture = np.broadcast_to(fitted.mixture(*at), (len(sites), choice.layers))
    gain, offset = gains(sites, choice, fitted.mean[c, k], fitted.scale[c, k], mixture, depth)
    layer = np.int32(read_until(sites, choice))
    return {"gain": gain, "offset": offset, "layer": layer, **fitted.trunk(*at)}
