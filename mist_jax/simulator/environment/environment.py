"""One LIBERO task in simulation: deterministic resets, steps, observations, snapshots."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import mujoco
import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.errors import UserError
from mist_jax.record.observation import AGENT_CAMERA, Observation
from mist_jax.simulator.environment.control import ControlLoop
from mist_jax.simulator.environment.observation import SAMPLED_SUBSTEP, ObservationReader, Sample
from mist_jax.simulator.environment.rendering import choose_gl
from mist_jax.simulator.environment.start import moved_start
from mist_jax.simulator.libero.assets import Assets
from mist_jax.simulator.libero.initial_states import load_initial_states
from mist_jax.simulator.libero.libero_package import quiet
from mist_jax.simulator.libero.problem import CONTROL_HZ, Changeable, build_problem, seeded
from mist_jax.simulator.libero.sampled_scenes import SAMPLED, check_initial_state, sampling_seed
from mist_jax.simulator.libero.suite import Task
from mist_jax.simulator.variation.scene import VariedScene

DIMENSIONS = len(ACTION_DIMENSIONS)
SUBSTEPS = 500 // CONTROL_HZ
# Nothing moves and the gripper opens.
NO_OP = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_PLACEMENT_TRIES = 100
# rad; robosuite's default. LIBERO's published states show it, its own resets have none.
_JOINT_NOISE = {"type": "gaussian", "magnitude": 0.02}


class SimulatorError(RuntimeError):
    """The simulation itself failed, for example became unstable: no fault of the policy."""


@dataclass(frozen=True)
class Snapshot:
    """All that the rest of an episode depends on, for any Environment of the same scene.

    Attributes:
      before, after: MuJoCo's state before and after the last integration: poses and contacts
        still belong to the first, joint positions and velocities to the second.
      changeable: what an episode can change in the model.
      gripper_action: the gripper's ramped command.
      controller: the controller's arrays and flags.
      sample: what `observe` shows.
      timestep: control steps since the reset.
      scene: how the task is varied in it.
    """

    before: np.ndarray
    after: np.ndarray
    changeable: Changeable
    gripper_action: np.ndarray
    controller: dict[str, Any]
    sample: Sample
    timestep: int
    scene: VariedScene


class Environment:
    """One task of LIBERO on robosuite: OSC_POSE at 20 Hz, 25 physics substeps a step.

    Attributes:
      task, assets: what is simulated.
      initial_states: float64 [states, 1 + nq + nv], the published ones.
      robosuite_env: LIBERO's problem object.
      parsed_problem: its BDDL file as a dictionary.
      sim, model, data: robosuite's simulation, and MuJoCo's own model and data within it.
      substep_observers: called after every physics substep.
      scene: how the task is varied since the last reset: its instruction too.
    """

    def __init__(
        self,
        task: Task,
        assets: Assets,
        *,
        camera_res: int = 256,
        render: Literal["exact", "fast", "none"] = "exact",
    ):
        """Builds the scene; call `reset` before anything else.

        Args:
          task: what to simulate.
          assets: from `find_assets`.
          camera_res: height and width of the images in pixels.
          render: `exact` for the pixels of stock LIBERO, `fast` for cheaper ones without
            reflections and multisampling, `none` for no images.

        Raises:
          UserError: no GL library to render with, or the assets lack a file of this task.
        """
        choose_gl(render != "none")
        if mujoco.get_mju_user_warning() is None:
            # MuJoCo would print and write MUJOCO_LOG.TXT; its counters become errors in `step`.
            mujoco.set_mju_user_warning(lambda message: None)
        self.task = task
        self.assets = assets
        self.substep_observers: list[Callable[[], None]] = []
        with seeded(0):
            self.robosuite_env = build_problem(task, assets)
        self.parsed_problem: dict[str, Any] = self.robosuite_env.parsed_problem
        self.sim = self.robosuite_env.sim
        self.model: mujoco.MjModel = self.sim.model._model
        self.data: mujoco.MjData = self.sim.data._data
        self._sampled: dict[int, np.ndarray] = {}
        self._control = ControlLoop(self.robosuite_env)
        self._reader = ObservationReader(self.robosuite_env, camera_res, render)
        self._before = self._state()
        self._sample = self._sample_now()
        self.scene = self._draw_scene(0, 0)

    @functools.cached_property
    def initial_states(self) -> np.ndarray:
        """The task's published states, read when the first is needed: a new task may have none.

        Raises:
          UserError: the file is missing, damaged, or of another scene.
        """
        states = load_initial_states(self.task)
        width = 1 + self.model.nq + self.model.nv
        if states.shape[1] != width:
            raise UserError(
                f"{self.task.initial_states_file} holds rows of {states.shape[1]} numbers, and the "
                f"scene of {self._where()} takes {width}: draw its states from this scene"
            )
        return states

    def reset(self, initial_state: int, seed: int, settle_steps: int | None = None) -> None:
        """Puts the scene in one of the task's initial states and lets it settle.

        The episode that follows depends on (task, initial_state, seed) and the actions alone,
        bit for bit, whatever this process simulated before.

        Args:
          initial_state: index into `initial_states`, or from 1000 on of a sampled scene.
          seed: draws the poses of the fixtures, which the initial state does not hold, and, with
            the initial state, how the suite's variation looks in this scene.
          settle_steps: no-op steps to run; default: the task's own number.

        Raises:
          UserError: there is no such initial state.
          SimulatorError: the objects or the arm have no free place.
        """
        state = self.initial_state(initial_state)
        scene = self._draw_scene(initial_state, seed)
        env = self.robosuite_env
        with quiet(), seeded(seed):
            self._place_objects()
        # Only a hard reset would make a new gripper: this one remembers the last episode.
        env.robots[0].gripper.current_action = np.zeros(env.robots[0].gripper.dof)
        self.sim.set_state_from_flattened(state)
        self.sim.forward()
        if scene.variation.robot and not moved_start(env, scene):
            raise SimulatorError(f"{self._where()}: no free place for the arm")
        self._show(scene)
        self._before = self._state()
        self._sample = self._sample_now()
        env._post_process()
        for _ in range(self.task.settle_steps if settle_steps is None else settle_steps):
            self.step(NO_OP)

    def initial_state(self, index: int) -> np.ndarray:
        """The state of an index: published, or drawn when it is first asked for.

        A drawn one depends on (suite, task id, index) alone. Call `reset` before going on.

        Returns:
          float64 [1 + nq + nv]

        Raises:
          UserError: there is no such initial state.
        """
        if index not in SAMPLED:
            check_initial_state(index, len(self.initial_states))
            return self.initial_states[index]
        if index not in self._sampled:
            self._sampled[index] = self.draw_initial_state(sampling_seed(self.task, index))
        return self._sampled[index]

    def draw_initial_state(self, seed: int) -> np.ndarray:
        """A new initial state as LIBERO's published ones were drawn; call `reset` before going on.

        Objects stand where the regions of the task's BDDL file allow; the arm's joints are off
        their usual angles by 0.02 rad (standard deviation).

        Returns:
          float64 [1 + nq + nv]: a row of a file of initial states.
        """
        robot = self.robosuite_env.robots[0]
        usual, robot.initialization_noise = robot.initialization_noise, _JOINT_NOISE
        try:
            with quiet(), seeded(seed):
                self._place_objects()
        finally:
            robot.initialization_noise = usual
        return self.sim.get_state().flatten()

    def _place_objects(self) -> None:
        """What LIBERO's reset does, without compiling the model again."""
        from robosuite.utils.errors import RandomizationError

        env = self.robosuite_env
        for _ in range(_PLACEMENT_TRIES):
            env.compiled.write_to(self.model)
            self.sim.reset()
            # As a new simulation and a new renderer do; the solver starts from its last result.
            self.sim.forward()
            self.sim.forward()
            try:
                env._reset_internal()
            except RandomizationError:
                # As LIBERO does: the sampler found no free place, so it draws again.
                continue
            self.sim.forward()
            env.visualize(vis_settings=dict.fromkeys(env._visualizations, False))
            return
        raise SimulatorError(f"{self._where()}: no free place for the objects")

    def step(self, action: np.ndarray) -> bool:
        """One control step (50 ms).

        Args:
          action: float [7]: translation and rotation in [-1, 1] (0.05 m, 0.5 rad), world frame;
            gripper, -1 opens and +1 closes.

        Returns:
          Whether the task's goal holds.

        Raises:
          SimulatorError: the simulation became unstable.
          ValueError: the action has another shape or is not finite.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (DIMENSIONS,) or not np.isfinite(action).all():
            raise ValueError(f"an action is {DIMENSIONS} finite numbers, not {action}")
        poses = self.data.qpos
        for substep in range(SUBSTEPS):
            if substep == SAMPLED_SUBSTEP:
                poses = self.data.qpos.copy()
            self._control.set_torques(action, first=substep == 0)
            if substep == SUBSTEPS - 1:
                self._before = self._state()
            mujoco.mj_step2(self.model, self.data)
            if substep == SAMPLED_SUBSTEP:
                self._sample = Sample(poses, self.data.qpos.copy())
            for observer in self.substep_observers:
                observer()
        self.robosuite_env.timestep += 1
        self._check_stable()
        self.robosuite_env._post_process()
        return self.success()

    def _check_stable(self) -> None:
        warnings = self.data.warning.number
        if warnings.any() or not np.isfinite(self.data.qpos).all():
            kinds = [mujoco.mjtWarning(kind).name for kind in np.flatnonzero(warnings)]
            raise SimulatorError(
                f"{self._where()}: the simulation became unstable "
                f"at step {self.robosuite_env.timestep} ({', '.join(kinds) or 'NaN'})"
            )

    def success(self) -> bool:
        """Whether the task's goal holds now."""
        return bool(self.robosuite_env._check_success())

    def observe(self, render: bool = True) -> Observation:
        """The observation after the last step; `as_libero` gives that of LIBERO's `step`.

        LIBERO samples it 2 ms before the step ends; for the state at the end read `data`.

        Args:
          render: whether to add the images, uint8 [camera_res, camera_res, 3]; those of a scene
            with sensor noise have it, always the same at one step.
        """
        seen = self._reader.read(self._sample, render)
        if self.scene.noise is None or not seen.images:
            return seen
        spoilt = self.scene.noise(seen.images[AGENT_CAMERA], self.robosuite_env.timestep)
        return dataclasses.replace(seen, images={**seen.images, AGENT_CAMERA: spoilt})

    def _draw_scene(self, initial_state: int, seed: int) -> VariedScene:
        task = self.task
        return VariedScene.draw(
            task.variation,
            suite=task.plain_suite,
            task_id=task.task_id,
            instruction=task.language,
            initial_state=initial_state,
            seed=seed,
        )

    def _show(self, scene: VariedScene) -> None:
        self.scene = scene
        self._reader.move_camera(scene.viewpoint)

    def snapshot(self) -> Snapshot:
        """The state of the episode now, to come back to with `restore`."""
        robot = self.robosuite_env.robots[0]
        return Snapshot(
            before=self._before,
            after=self._state(),
            changeable=Changeable.read_from(self.model),
            gripper_action=np.array(robot.gripper.current_action),
            controller={
                name: np.copy(value) if isinstance(value, np.ndarray) else value
                for name, value in vars(robot.controller).items()
                if isinstance(value, np.ndarray | bool)
            },
            sample=self._sample,
            timestep=self.robosuite_env.timestep,
            scene=self.scene,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot; what follows is bit for bit what followed it."""
        robot = self.robosuite_env.robots[0]
        snapshot.changeable.write_to(self.model)
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, snapshot.before, _STATE)
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, snapshot.after, _STATE)
        robot.gripper.current_action = snapshot.gripper_action.copy()
        for name, value in snapshot.controller.items():
            setattr(robot.controller, name, np.copy(value) if np.ndim(value) else value)
        self._before = snapshot.before
        self._sample = snapshot.sample
        self.robosuite_env.timestep = snapshot.timestep
        self._show(snapshot.scene)

    def close(self) -> None:
        """Frees the renderer."""
        self._reader.close()

    def _state(self) -> np.ndarray:
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return state

    def _sample_now(self) -> Sample:
        positions = self.data.qpos.copy()
        return Sample(positions, positions)

    def _where(self) -> str:
        return f"{self.task.suite} task {self.task.task_id}"
