"""LIBERO's problem objects: a robosuite environment built from a BDDL file."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import mujoco
import numpy as np

from mist_jax.errors import UserError
from mist_jax.simulator.libero.assets import Assets
from mist_jax.simulator.libero.libero_package import import_libero, quiet
from mist_jax.simulator.libero.suite import Task

CONTROL_HZ = 20


@dataclass(frozen=True)
class Changeable:
    """The parts of a MuJoCo model that resets and episodes change.

    Attributes:
      body_pos, body_quat: float64 [bodies, 3] and [bodies, 4]; resets place the fixtures.
      site_rgba: float32 [sites, 4]; a stove that is on shows its flame.
    """

    body_pos: np.ndarray
    body_quat: np.ndarray
    site_rgba: np.ndarray

    @classmethod
    def read_from(cls, model: mujoco.MjModel) -> Self:
        """A copy of the model's present values."""
        return cls(model.body_pos.copy(), model.body_quat.copy(), model.site_rgba.copy())

    def write_to(self, model: mujoco.MjModel) -> None:
        """Sets the model's values."""
        model.body_pos[:] = self.body_pos
        model.body_quat[:] = self.body_quat
        model.site_rgba[:] = self.site_rgba


def build_problem(task: Task, assets: Assets) -> Any:
    """LIBERO's problem object for a task, as LIBERO's ControlEnv makes it, without images.

    It has one more attribute, `compiled`: the `Changeable` of the model as it was compiled.

    Raises:
      UserError: the assets lack a file of this task.
    """
    envs = import_libero(assets.path)
    from robosuite import load_controller_config

    path = str(task.bddl_file)
    try:
        with quiet():
            if task.prepare is not None:
                _once(task.prepare)
            name = envs.bddl_base_domain.BDDLUtils.get_problem_info(path)["problem_name"]
            problem_class = envs.TASK_MAPPING[name]
            if task.problem is not None:
                problem_class = task.problem(problem_class)
            return _keeping_compiled(problem_class)(
                path,
                robots=["Panda"],
                controller_configs=load_controller_config(default_controller="OSC_POSE"),
                gripper_types="default",
                initialization_noise=None,
                use_camera_obs=False,
                has_offscreen_renderer=False,
                control_freq=CONTROL_HZ,
                ignore_done=True,
                hard_reset=False,
            )
    except (FileNotFoundError, ValueError) as error:
        # MuJoCo's compiler reports a missing mesh or texture as a ValueError.
        reason = " ".join(str(error).split())
        raise UserError(
            f"{task.suite} task {task.task_id} cannot be built with the {assets.kind} assets "
            f"in {assets.path}: {reason}"
        ) from error


@functools.cache
def _once(prepare: Callable[[], None]) -> None:
    prepare()  # what it registers with LIBERO stays for the life of this process


@functools.cache
def _keeping_compiled(problem_class: type) -> type:
    """The class, remembering what its first reset (in its constructor) will overwrite."""

    def _initialize_sim(self: Any, xml_string: str | None = None) -> None:
        problem_class._initialize_sim(self, xml_string)  # type: ignore[attr-defined]
        self.compiled = Changeable.read_from(self.sim.model._model)

    # LIBERO checks that the class is named like the BDDL file's problem.
    return type(problem_class)(
        problem_class.__name__, (problem_class,), {"_initialize_sim": _initialize_sim}
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """robosuite draws from numpy's global generator: seeds it, and gives the caller's back."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
