"""What averages and regressions are made with: chosen by what their pushes do on held-out scenes.

To first order (`responses`): the Jacobians of the held-out states say what a push would do there.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mist_jax.counterfactual.fitting.components import principal_components
from mist_jax.steering.causal.average import average_jacobians, phase_edges
from mist_jax.steering.causal.bank import FORMS, Form
from mist_jax.steering.causal.regress import predicted, regress_jacobians
from mist_jax.steering.causal.response import responses
from mist_jax.steering.causal.states import CausalStates

DAMPINGS = (1e-3, 1e-2, 0.03, 0.1, 0.3)
PHASES = (4, 8, 12)
PRIORS = (1.0, 4.0, 16.0)
COMPONENTS = (8, 16, 32, 64)
RIDGES = (0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class FormChoice:
    """How a form is made; `loss` and `slope` are those of `Response`, on the held-out states.

    `phases` and `prior` are of the table, `components` and `ridge` of the linear form; 0 where
    another one's.
    """

    form: Form
    damping: float
    loss: float
    slope: float
    phases: int = 0
    prior: float = 0.0
    components: int = 0
    ridge: float = 0.0


@dataclass(frozen=True)
class JacobianData:
    """Q states with their Jacobians [Q, A, S, D] and the activations that are read [Q, F]."""

    states: CausalStates
    features: np.ndarray
    jacobians: np.ndarray

    def part(self, rows: np.ndarray) -> "JacobianData":
        """Those of `rows` (bool [Q])."""
        return JacobianData(self.states.part(rows), self.features[rows], self.jacobians[rows])


@dataclass(frozen=True)
class TableFit:
    """The rows of a table, and which one a state has."""

    table: np.ndarray  # float32 [K, A, S, D]
    instructions: tuple[str, ...]
    edges: tuple[float, ...]

    def rows(self, states: CausalStates) -> np.ndarray:
        """int [Q]; states of an unknown instruction have the row of all of them."""
        place = {text: row for row, text in enumerate(self.instructions)}
        of = np.asarray([place.get(str(t), len(place)) for t in states.instruction], np.int32)
        phase = np.searchsorted(np.asarray(self.edges), states.progress, side="right")
        return (of * (len(self.edges) + 1) + phase).astype(np.int32)


def fit_table(data: JacobianData, phases: int, prior: float) -> TableFit:
    """The averages of `data`."""
    states, edges = data.states, phase_edges(data.states.progress, phases)
    instructions = tuple(np.unique(states.instruction).tolist())
    table = average_jacobians(
        data.jacobians, states.instruction, states.progress, instructions, edges, prior
    )
    return TableFit(table, instructions, edges)


def choose(fit: JacobianData, held_out: JacobianData) -> dict[Form, FormChoice]:
    """The best of each form where `held_out` states are pushed by what `fit` ones say."""
    found: dict[Form, list[FormChoice]] = {form: [] for form in FORMS}

    def note(form: Form, used: np.ndarray, **made: Any) -> None:
        for damping, said in responses(used, held_out.jacobians, DAMPINGS).items():
            found[form].append(FormChoice(form, damping, said.loss, said.slope, **made))

    for phases, prior in product(PHASES, PRIORS):
        table = fit_table(fit, phases, prior)
        used = table.table[table.rows(held_out.states)]
        note("table", used, phases=phases, prior=prior)
    whole = principal_components(fit.features, max(COMPONENTS))
    for count, ridge in product(COMPONENTS, RIDGES):
        if len(whole.scale) < count:
            continue
        z = whole.first(count)
        terms = regress_jacobians(fit.jacobians, z(fit.features), ridge)
        note("linear", predicted(terms, z(held_out.features)), components=count, ridge=ridge)
    note("exact", held_out.jacobians)
    return {form: min(some, key=lambda choice: choice.loss) for form, some in found.items()}
