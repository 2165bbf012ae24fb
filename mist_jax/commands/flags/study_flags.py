"""--preregistration: what a registered study fixes is read from its file, and not typed."""

from typing import TYPE_CHECKING, Any

from absl import flags

from mist_jax.commands.flags import perturbation_flags, simulation_flags
from mist_jax.commands.flags.folders import folder_of
from mist_jax.errors import UserError
from mist_jax.simulator.environment.perturbation import PerturbationSpec

if TYPE_CHECKING:
    from mist_jax.evaluation.study.preregistration import Preregistration

PREREGISTRATION = flags.DEFINE_string(
    "preregistration",
    None,
    "File that plan_study wrote: the registered study is run. What it fixes (scenes, coefficient, "
    "thresholds, perturbation, ...) is not typed, and a run that differs is refused.",
)

# Flags that are called as what a run's setup keeps of them.
_OF_THE_SETUP = (
    *("coefficient", "rotation_coefficient", "brake", "halt", "release", "hold"),
    *("intent", "push", "method"),
    *("equivalence_margin", "min_force", "camera_res", "render", "batch_size", "dtype"),
)
_OF_THE_SCENES = ("env", "task_ids", "initial_states", "n_episodes", "seed")
_OF_THE_PERTURBATION = (
    perturbation_flags.KIND.name,
    perturbation_flags.ONSET.name,
    perturbation_flags.LENGTH.name,
    perturbation_flags.STRENGTH.name,
)


def preregistered() -> "Preregistration | None":
    """The registered study, once the flags that it fixes are set; None where none is given.

    Raises UserError for a file that is none, or a flag that was typed beside it.
    """
    if not PREREGISTRATION.value:
        return None
    from mist_jax.evaluation.study.preregistration import Preregistration

    path = folder_of(PREREGISTRATION.value)
    registered = Preregistration.read(path)
    fixed: dict[str, Any] = dict.fromkeys(_OF_THE_SCENES)
    fixed |= dict.fromkeys((*_OF_THE_PERTURBATION, "risk_threshold"))
    # What a file of an earlier version lacks is refused when the run is compared with it.
    fixed |= {name: registered.setup.get(name) for name in _OF_THE_SETUP}
    for name in fixed:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} is fixed by {path}: leave it out")
    disturbed = PerturbationSpec.parse(registered.setup["perturbation"])
    fixed |= {
        "env": registered.suite,
        "n_episodes": registered.n_episodes,
        "seed": registered.seed,
        perturbation_flags.KIND.name: disturbed.kind,
        perturbation_flags.ONSET.name: [*map(repr, disturbed.onset)],
        perturbation_flags.LENGTH.name: [*map(repr, disturbed.length)],
        perturbation_flags.STRENGTH.name: [*map(repr, disturbed.strength)],
    }
    for name, value in fixed.items():
        if value not in (None, ""):
            flags.FLAGS[name].value = value
    arms = flags.FLAGS["interventions"]
    if not arms.present:
        arms.value = list(registered.arms)
    for arm in arms.value or ():
        if arm.strip() not in registered.arms:
            raise UserError(f"--interventions={arm} is no arm of {path}: leave it out")
    return registered


def initial_states(registered: "Preregistration | None") -> dict[int, tuple[int, ...]]:
    """Of each task, as registered or as typed (`simulation_flags.initial_states`)."""
    return simulation_flags.initial_states() if registered is None else registered.initial_states
