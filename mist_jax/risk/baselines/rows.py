"""The baselines: the head's own learner on inputs from outside the model, and event rates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mist_jax.risk.baselines import inputs
from mist_jax.risk.baselines.rates import TASK, TASK_CLOCK
from mist_jax.risk.baselines.tasks import one_hot, task_codes
from mist_jax.risk.detector import Claim, Fit, Member, Progress
from mist_jax.risk.features import Samples
from mist_jax.risk.judging.evidence import AROUND, CLOCK
from mist_jax.risk.perceptron.detector import Perceptron
from mist_jax.risk.plan import Plan

TASKS = "tasks"  # of each member: the tasks that its one-hot inputs stand for


@dataclass(frozen=True)
class TaskPerceptron:
    """The head's learner on `inputs` (features [Q, F]) and on the task, one-hot.

    A task that was never trained on is all zeros.
    """

    name: str
    inputs: Callable[[Samples], np.ndarray]
    claims: Claim = "contact"

    @property
    def learner(self) -> str:
        return self.name

    def epochs(self, plan: Plan) -> int:
        return plan.train.epochs

    def fit(self, samples: Samples, plan: Plan, progress: Progress) -> Fit:
        """As the learner does, and remembers which tasks there were."""
        tasks = np.unique(task_codes(samples))
        fit = self._on(tasks).fit(samples, plan, progress)
        return Fit([None if member is None else {**member, TASKS: tasks} for member in fit.members])

    def score(self, member: Member, samples: Samples) -> np.ndarray:
        """Logits [Q, M]."""
        learnt = dict(member)
        return self._on(np.asarray(learnt.pop(TASKS))).score(learnt, samples)

    def _on(self, tasks: np.ndarray) -> Perceptron:
        def both(samples: Samples) -> np.ndarray:
            hot = one_hot(task_codes(samples), tasks)
            return np.concatenate([self.inputs(samples), hot], axis=1)

        return Perceptron(self.name, inputs=both)


BASELINES = (
    Perceptron(CLOCK, inputs=inputs.clock),
    TASK,
    TASK_CLOCK,
    Perceptron("state", inputs=inputs.state),
    Perceptron("action", inputs=inputs.action),
    TaskPerceptron(AROUND, inputs.around),
    Perceptron("last contact", inputs=inputs.since_contact),
    Perceptron("action reversals", inputs=inputs.reversals),
)
