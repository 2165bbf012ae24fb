"""One LIBERO task in simulation: deterministic resets, steps, observations, snapshots."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mist_jax.errors import UserError
from mist_jax.simulator.assets import Assets
from mist_jax.simulator.initial_states import load_initial_states
from mist_jax.simulator.libero_package import import_libero, quiet
from mist_jax.simulator.rendering import CAMERAS, SceneRenderer, choose_gl
from mist_jax.simulator.suites import SETTLE_STEPS, Task

if TYPE_CHECKING:
    import mujoco

CONTROL_HZ = 20
SUBSTEPS = 25
# Nothing moves and the gripper opens.
NO_OP = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


class SimulatorError(RuntimeError):
    """The simulation itself failed (it became unstable): no fault of the policy."""


@dataclass(frozen=True)
class Snapshot:
    """All that the rest of an episode depends on; made and used by one Environment."""

    before: np.ndarray
    after: np.ndarray
    body_pos: np.ndarray
    body_quat: np.ndarray
    site_rgba: np.ndarray
    gripper_action: np.ndarray
    controller: dict[str, Any]
    timestep: int


class Environment:
    """One task of LIBERO on robosuite: OSC_POSE at 20 Hz, 25 physics substeps a step.

    Attributes:
      task, assets: what is simulated.
      initial_states: float64 [50, 1 + nq + nv].
      robosuite_env: LIBERO's problem object.
      parsed_problem: its BDDL file as a dictionary.
      substep_observers: called after every physics substep.
    """

    def __init__(
        self,
        task: Task,
        assets: Assets,
        *,
        camera_res: int = 256,
        render: Literal["exact", "fast", "none"] = "exact",
    ):
        """Builds the scene.

        Raises:
          UserError: no GL library to render with, or the assets lack a file of this task.
        """
        choose_gl(render != "none")
        envs = import_libero(assets)
        self.task = task
        self.assets = assets
        self.initial_states = load_initial_states(task)
        self.substep_observers: list[Callable[[], None]] = []
        try:
            with quiet(), _seeded(0):
                control_env = envs.env_wrapper.ControlEnv(
                    bddl_file_name=str(task.bddl_file),
                    use_camera_obs=False,
                    has_offscreen_renderer=False,
                    control_freq=CONTROL_HZ,
                    ignore_done=True,
                    hard_reset=False,
                )
        except (FileNotFoundError, ValueError) as error:
            # MuJoCo's compiler reports a missing mesh or texture as a ValueError.
            raise UserError(
                f"{task.suite} task {task.task_id} cannot be built with the {assets.kind} assets "
                f"in {assets.path}: {error}"
            ) from error
        self.robosuite_env = control_env.env
        self.parsed_problem: dict[str, Any] = self.robosuite_env.parsed_problem
        self.sim = self.robosuite_env.sim
        self.model: mujoco.MjModel = self.sim.model._model
        self.data: mujoco.MjData = self.sim.data._data
        self._pristine_site_rgba = self.model.site_rgba.copy()
        self._renderer = None if render == "none" else SceneRenderer(self.sim, camera_res, render)

    def reset(self, initial_state: int, seed: int, settle_steps: int = SETTLE_STEPS) -> None:
        """Puts the scene in one of the benchmark's initial states and lets it settle.

        The episode that follows depends on (task, initial_state, seed) and the actions alone,
        bit for bit, whatever this process simulated before.

        Args:
          initial_state: index into `initial_states`.
          seed: draws the poses of the fixtures, which the initial state does not hold.
          settle_steps: no-op steps to run.
        """
        if not 0 <= initial_state < len(self.initial_states):
            raise UserError(
                f"there is no initial state {initial_state}: "
                f"valid ids are 0 to {len(self.initial_states) - 1}"
            )
        env = self.robosuite_env
        self.model.site_rgba[:] = self._pristine_site_rgba
        with quiet(), _seeded(seed):
            self._reset_scene()
        # Only a hard reset would make a new gripper: this one remembers the last episode.
        env.robots[0].gripper.current_action = np.zeros(env.robots[0].gripper.dof)
        self.sim.set_state_from_flattened(self.initial_states[initial_state])
        self.sim.forward()
        self._before = self._integration_state()
        env._check_success()
        env._post_process()
        for _ in range(settle_steps):
            self.step(NO_OP)

    def _reset_scene(self) -> None:
        from robosuite.utils.errors import RandomizationError

        while True:
            try:
                self.robosuite_env.reset()
            except RandomizationError:
                # As LIBERO does: the sampler found no free place, so it draws again.
                continue
            return

    def step(self, action: np.ndarray) -> bool:
        """One control step (50 ms).

        Args:
          action: float [7]: translation and rotation in [-1, 1] (0.05 m, 0.5 rad), world frame;
            gripper, -1 opens and +1 closes.

        Returns:
          Whether the task's goal holds.

        Raises:
          SimulatorError: the simulation became unstable.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,):
            raise ValueError(f"an action is float [7], not {list(action.shape)}")
        env = self.robosuite_env
        env.timestep += 1
        for substep in range(SUBSTEPS):
            self.sim.forward()
            env._pre_action(action, substep == 0)
            self._before = self._integration_state()
            self.sim.step()
            for observer in self.substep_observers:
                observer()
        env.cur_time += env.control_timestep
        self._check_stable()
        env._post_process()
        return self.success()

    def _check_stable(self) -> None:
        import mujoco

        kinds = (
            mujoco.mjtWarning.mjWARN_BADQPOS,
            mujoco.mjtWarning.mjWARN_BADQVEL,
            mujoco.mjtWarning.mjWARN_BADQACC,
            mujoco.mjtWarning.mjWARN_BADCTRL,
        )
        for kind in kinds:
            if self.data.warning[kind].number:
                raise SimulatorError(
                    f"{self.task.suite} task {self.task.task_id}: MuJoCo reports {kind.name} "
                    f"at step {self.robosuite_env.timestep}"
                )

    def success(self) -> bool:
        """Whether the task's goal holds now."""
        return bool(self.robosuite_env._check_success())

    def observe(self, render: bool = True) -> dict[str, np.ndarray]:
        """LIBERO's observation.

        Args:
          render: whether to add the images.

        Returns:
          robot0_eef_pos [3] (m, world), robot0_eef_quat [4] (xyzw), robot0_gripper_qpos [2] (m),
          robot0_joint_pos [7] (rad), NAME_pos [3] and NAME_quat [4] (xyzw) of every object, all
          float64; agentview_image and robot0_eye_in_hand_image, uint8
          [camera_res, camera_res, 3], upside down as rendered.
        """
        env, robot, data = self.robosuite_env, self.robosuite_env.robots[0], self.data
        observation = {
            "robot0_joint_pos": data.qpos[robot._ref_joint_pos_indexes],
            "robot0_eef_pos": data.site_xpos[robot.eef_site_id].copy(),
            "robot0_eef_quat": _xyzw(self.sim.data.get_body_xquat(robot.robot_model.eef_name)),
            "robot0_gripper_qpos": data.qpos[robot._ref_gripper_joint_pos_indexes],
        }
        for item in env.objects:
            body = env.obj_body_id[item.name]
            observation[f"{item.name}_pos"] = data.xpos[body].copy()
            observation[f"{item.name}_quat"] = _xyzw(data.xquat[body])
        if render:
            if self._renderer is None:
                raise ValueError('this environment was made with render="none"')
            for camera in CAMERAS:
                observation[f"{camera}_image"] = self._renderer.render(camera)
        return observation

    def snapshot(self) -> Snapshot:
        """The state of the episode now, to come back to with `restore`."""
        env = self.robosuite_env
        robot = env.robots[0]
        return Snapshot(
            before=self._before.copy(),
            after=self._integration_state(),
            body_pos=self.model.body_pos.copy(),
            body_quat=self.model.body_quat.copy(),
            site_rgba=self.model.site_rgba.copy(),
            gripper_action=np.array(robot.gripper.current_action),
            controller={
                name: value.copy() if isinstance(value, np.ndarray) else value
                for name, value in vars(robot.controller).items()
            },
            timestep=env.timestep,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot; what follows is bit for bit what followed it."""
        import mujoco

        env = self.robosuite_env
        robot = env.robots[0]
        self.model.body_pos[:] = snapshot.body_pos
        self.model.body_quat[:] = snapshot.body_quat
        self.model.site_rgba[:] = snapshot.site_rgba
        # After a step, poses and contacts are those from before its last integration.
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(self.model, self.data, snapshot.before, kind)
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, snapshot.after, kind)
        self._before = snapshot.before.copy()
        robot.gripper.current_action = snapshot.gripper_action.copy()
        for name, value in snapshot.controller.items():
            setattr(
                robot.controller, name, value.copy() if isinstance(value, np.ndarray) else value
            )
        env.timestep = snapshot.timestep

    def _integration_state(self) -> np.ndarray:
        import mujoco

        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, state, kind)
        return state

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _xyzw(quaternion: np.ndarray) -> np.ndarray:
    return quaternion[[1, 2, 3, 0]]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """robosuite draws from numpy's global generator: seeds it, and gives the caller's back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
