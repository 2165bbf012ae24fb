"""One simulator process: runs episodes turn by turn, and never sees the policy's network."""

from typing import TYPE_CHECKING

import numpy as np

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, Outcome
from mist_jax.record.observation import Observation
from mist_jax.record.queries import Queries
from mist_jax.rollout.episode_spec import EpisodeSpec, Turn, WorkerConfig
from mist_jax.rollout.forked_state import ForkedState
from mist_jax.rollout.recording import Recording
from mist_jax.simulator.expert.lookahead import expert_chunk
from mist_jax.simulator.libero.suites import load_task

if TYPE_CHECKING:
    from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
    from mist_jax.simulator.contacts.monitor import ContactMonitor
    from mist_jax.simulator.environment.environment import Environment
    from mist_jax.simulator.libero.assets import Assets
    from mist_jax.simulator.variation.scene import VariedScene

_STILL = np.zeros(len(ACTION_DIMENSIONS))


class Worker:
    """Owns one environment, its contact monitor and, where asked for, the scripted expert.

    `start` and `act` alternate between this process and the policy's: each returns a `Turn` that
    either asks for the next chunk or carries the finished episode. A simulator error is raised;
    the worker is then to be replaced.
    """

    def __init__(self, config: WorkerConfig):
        self._config = config
        self._environment: Environment | None = None
        self._assets: Assets | None = None
        self._forked: ForkedState | None = None

    def ready(self) -> bool:
        """True, once the process runs and can import what it needs."""
        return True

    def close(self) -> None:
        """Frees the environment."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def start(self, spec: EpisodeSpec) -> Turn:
        """Begins an episode, whatever ran before.

        The state after the last prefix is kept: an episode with the same one goes on from there.

        Raises:
            UserError: an unknown task or initial state, or assets that are absent.
        """
        if spec.acting == "policy" and self._config.preprocessor is None:
            raise ValueError("a policy's episode needs a preprocessor in the worker's config")
        needs_expert = spec.acting == "expert" or spec.label
        if spec.prefix is not None and (needs_expert or spec.images == "step"):
            raise ValueError("a prefix has no pictures, and the expert cannot begin behind one")
        environment, monitor = self._open(spec)
        self._spec = spec
        self._labels: list[np.ndarray] = []
        self._between: PolicyInputs | None = None
        self._perturbation = (
            spec.perturbation.begin(spec.key, environment.task.max_steps)
            if spec.perturbation is not None
            else None
        )
        if self._forked is None or spec.fork != self._forked.of:
            self._begin(environment, monitor)
        else:
            self._forked.restore(environment, monitor)
            self._step = spec.begins
            self._contacts = list(self._forked.contacts)
            self._recording = self._forked.recording.copy()
            self._executed = list(self._forked.executed)
        self._expert = _expert(environment) if needs_expert else None
        return self._ask()

    def _begin(self, environment: "Environment", monitor: "ContactMonitor") -> None:
        """Resets, and executes the prefix where there is one: the state after it is kept."""
        spec = self._spec
        environment.reset(spec.key.initial_state, spec.key.seed)
        monitor.begin_episode()
        self._step = 0
        self._contacts: list[Contact] = []
        self._recording = Recording(monitor.object_names)
        self._executed: list[np.ndarray] = []
        if spec.prefix is None:
            return
        for commanded in spec.prefix:
            if self._step % self._config.chunk == 0:
                self._executed = []
            if self._execute(self._observe(False), commanded, keep_images=False) is not None:
                raise ValueError(f"{spec.key}: the episode ends within its prefix")
        self._forked = ForkedState.take(
            spec.fork, environment, monitor, self._recording, self._contacts, self._executed
        )

    def act(self, chunk: np.ndarray | None) -> Turn:
        """Executes environment actions float32 [C, A] in [-1, 1] open loop, to the end of the
        episode at most. The expert's episodes take no notice of them: it acts for itself.
        """
        environment, spec = self._environment, self._spec
        assert environment is not None
        self._executed, self._between = [], None
        length = self._config.chunk if chunk is None else len(chunk)
        if not length:
            raise ValueError(f"{spec.key}: a chunk has at least one action, this one has none")
        for row in range(length):
            halfway = self._config.between and 0 < row == length // 2
            observation = (
                self._asked if row == 0 else self._observe(halfway or spec.images == "step")
            )
            if halfway and self._config.preprocessor is not None:
                self._between = self._config.preprocessor(
                    observation, environment.scene.instruction
                )
            if spec.acting == "expert":
                assert self._expert is not None
                commanded = self._expert.action()
            else:
                assert chunk is not None
                commanded = chunk[row]
            keeps = spec.images == "step" or (spec.images == "query" and row == 0)
            ended = self._execute(observation, commanded, keep_images=keeps)
            if ended is not None:
                return Turn(spec.key, self._step, episode=self._episode(ended))
        return self._ask()

    def _execute(
        self, observation: Observation, commanded: np.ndarray, *, keep_images: bool
    ) -> Outcome | None:
        """One control step, recorded; how the episode ended, if it did."""
        environment, monitor = self._environment, self._monitor
        assert environment is not None
        commanded = np.clip(np.asarray(commanded, np.float32), -1.0, 1.0)
        executed, perturbed = commanded, False
        if self._perturbation is not None:
            executed, perturbed = self._perturbation.apply(self._step, commanded)
        self._executed.append(executed)
        monitor.begin_step()
        success = environment.step(executed)
        self._contacts.extend(monitor.end_step(self._step))
        self._recording.add(
            observation,
            keep_images=keep_images,
            action=executed,
            commanded=commanded,
            perturbed=perturbed,
            reward=float(success),
            displacement=monitor.displacement(),
            grasped=monitor.grasped,
        )
        self._step += 1
        if success:
            return "success"
        return "failure" if self._step == environment.task.max_steps else None

    def _open(self, spec: EpisodeSpec) -> "tuple[Environment, ContactMonitor]":
        # Imported here, so that a driver which only names this class loads no simulator.
        from mist_jax.simulator.contacts.monitor import ContactMonitor
        from mist_jax.simulator.environment.environment import Environment
        from mist_jax.simulator.libero.assets import find_assets

        task = load_task(spec.key.suite, spec.key.task_id)
        renders = self._config.preprocessor is not None or spec.images != "none"
        if self._environment is None or (task, renders) != self._built:
            if self._environment is not None:
                self._environment.close()
            if self._assets is None:  # looking through their files takes a while
                self._assets = find_assets(self._config.assets, allow_download=False)
            self._environment = Environment(
                task,
                self._assets,
                camera_res=self._config.camera_res,
                render=self._config.render if renders else "none",
            )
            self._monitor = ContactMonitor(self._environment, min_force=self._config.min_force)
            self._built = (task, renders)
        return self._environment, self._monitor

    @property
    def _scene(self) -> "VariedScene":
        assert self._environment is not None
        return self._environment.scene

    def _observe(self, render: bool) -> Observation:
        assert self._environment is not None
        return self._environment.observe(render=render)

    def _ask(self) -> Turn:
        config, task, instruction = self._config, self._built[0], self._scene.instruction
        self._asked = self._observe(config.preprocessor is not None or self._spec.images != "none")
        if self._spec.label:
            assert self._environment is not None
            assert self._expert is not None
            self._labels.append(expert_chunk(self._environment, self._expert, config.chunk))
        inputs = None
        if config.preprocessor is not None:
            inputs = config.preprocessor(self._asked, instruction)
        return Turn(
            self._spec.key,
            self._step,
            inputs=inputs,
            eef_pos=self._asked.eef_pos,
            eef_quat=self._asked.eef_quat,
            gripper_qpos=self._asked.gripper_qpos,
            motion=np.asarray(np.mean(self._executed or [_STILL], axis=0), np.float32),
            between=self._between,
            instruction=instruction,
            max_steps=task.max_steps,
        )

    def _episode(self, outcome: Outcome) -> Episode:
        spec, task, config = self._spec, self._built[0], self._config
        return Episode(
            key=spec.key,
            instruction=self._scene.instruction,
            outcome=outcome,
            max_steps=task.max_steps,
            assets=config.assets,
            model=config.model,
            perturbation="none" if self._perturbation is None else str(self._perturbation),
            object_names=tuple(self._monitor.object_names),
            steps=self._recording.steps(),
            contacts=tuple(self._contacts),
            queries=no_queries(config.chunk, np.stack(self._labels) if self._labels else None),
            variation=str(self._scene),
        )


def no_queries(chunk: int, expert: np.ndarray | None = None) -> Queries:
    """The queries of an episode in which no policy was asked, or none yet: `expert` [Q, C, A]."""
    said = np.zeros((0, chunk, len(ACTION_DIMENSIONS)), np.float32)
    return Queries(step=np.zeros(0, np.int32), raw_actions=said, expert=expert)


def _expert(environment: "Environment"):
    from mist_jax.simulator.expert.expert import Expert

    return Expert(environment)
