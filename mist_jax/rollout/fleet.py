"""A fleet of simulator processes: Ray actors, here or on a cluster, that may die or hang."""

import os
import pickle
import queue
import socket
import time
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mist_jax.errors import UserError
from mist_jax.extensions import VARIABLE, named_modules
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.rollout.episode_spec import EpisodeSpec, TaskName, Turn, WorkerConfig
from mist_jax.rollout.recording import Recording
from mist_jax.rollout.worker import Worker, no_queries
from mist_jax.scratch import Scratch
from mist_jax.simulator.libero.suites import load_task

_OBJECT_STORE_BYTES = 128 * 2**20
# Ray's sockets lie below its folder, and a socket's path has at most 107 bytes.
_LONGEST_RAY_FOLDER = 40
_SECONDS_TO_CONNECT = 10.0
_WORKER_ENVIRONMENT = {
    # A worker needs no accelerator; one thread each, as there is one worker per core.
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass
class _Slot:
    """One actor, and the episode that it runs."""

    actor: Any
    spec: EpisodeSpec | None = None
    tries: int = 0
    starting: bool = False
    call: Any = None
    deadline: float = 0.0
    task: TaskName | None = None
    fork: Hashable = None


class _Process:
    """A worker behind Ray. Its turns travel as bytes: Ray's arrays would be read-only views of its
    store, which they would keep full.
    """

    def __init__(self, worker_class: type, config: WorkerConfig):
        self._worker = worker_class(config)

    def ready(self) -> bool:
        return self._worker.ready()

    def start(self, spec: EpisodeSpec) -> bytes:
        return pickle.dumps(self._worker.start(spec), pickle.HIGHEST_PROTOCOL)

    def act(self, chunk: np.ndarray | None) -> bytes:
        return pickle.dumps(self._worker.act(chunk), pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True)
class _Connection:
    """To Ray: whether this process made it, and the scratch folder of what it started."""

    made_here: bool
    scratch: Scratch | None = None


class Fleet:
    """Runs up to `num_workers` episodes at a time; use as a context manager.

    A worker that dies, raises or does not answer within `timeout` seconds is replaced and its
    episode begun again (a new turn with step 0); after `max_tries` the episode ends as `crashed`,
    with the last error. `UserError` is let through: no second try would help.
    """

    def __init__(
        self,
        config: WorkerConfig,
        num_workers: int,
        *,
        ray_address: str | None = None,
        timeout: float = 300.0,
        start_timeout: float = 300.0,
        max_tries: int = 3,
        worker_class: type = Worker,
    ):
        """Starts the workers, each within `start_timeout` seconds (a cluster may be busy).

        Raises:
            UserError: no cluster at `ray_address`, or it cannot start so many workers.
        """
        self.num_workers = num_workers
        self.replaced = 0
        self._config, self._max_tries = config, max_tries
        self._timeout, self._start_timeout = timeout, start_timeout
        self._connection = _connect(ray_address, num_workers)
        import ray

        self._actor_class, self._worker_class = ray.remote(_Process), worker_class
        self._arrived: queue.SimpleQueue[tuple[Any, Future] | None] = queue.SimpleQueue()
        self._slots: list[_Slot] = []
        try:
            self._slots = [_Slot(self._new_actor()) for _ in range(num_workers)]
            self._await_workers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def idle_tasks(self) -> list[TaskName | None]:
        """Of each worker that could begin an episode, the task that it has loaded."""
        return [slot.task for slot in self._slots if slot.spec is None and slot.call is None]

    def start(self, spec: EpisodeSpec) -> None:
        """Begins an episode on an idle worker.

        It is one that keeps the state after the episode's prefix, or has its task loaded, where
        there is.
        """
        slot = min(
            (slot for slot in self._slots if slot.spec is None and slot.call is None),
            key=lambda slot: (slot.fork != spec.fork, slot.task != spec.task, bool(slot.task)),
        )
        slot.spec, slot.tries, slot.task, slot.fork = spec, 1, spec.task, spec.fork
        self._submit(slot, slot.actor.start.remote(spec))

    def act(self, key: EpisodeKey, chunk: np.ndarray | None) -> None:
        """Hands environment actions float32 [C, A] to the worker that runs the episode."""
        slot = next(slot for slot in self._slots if slot.spec and slot.spec.key == key)
        self._submit(slot, slot.actor.act.remote(chunk))

    def give_up(self, key: EpisodeKey, error: str) -> Episode:
        """Ends the episode as `crashed`, though not by its worker's fault: that one is idle then.

        The episode must have asked a question, and have no answer yet.
        """
        slot = next(slot for slot in self._slots if slot.spec and slot.spec.key == key)
        spec = slot.spec
        assert spec is not None
        assert slot.call is None
        slot.spec = None
        return self._crashed(spec, error)

    def wait(self) -> list[Turn]:
        """The turns that have come in: at least one, or perhaps none after `wake`."""
        while True:
            deadlines = [slot.deadline for slot in self._slots if slot.call is not None]
            arrived = self._take(min(deadlines, default=np.inf))
            slots = {slot.call: slot for slot in self._slots if slot.call is not None}
            turns = [
                self._collect(slots[one[0]], one[1])
                for one in arrived
                if one is not None and one[0] in slots  # else its worker was replaced since
            ]
            late = [
                slot
                for slot in self._slots
                if slot.call is not None and slot.deadline <= time.monotonic()
            ]
            turns += [self._expire(slot) for slot in late]
            came = [turn for turn in turns if turn is not None]
            if came or None in arrived:
                return came

    def wake(self) -> None:
        """Lets a `wait`, this or the next, return at once; other threads may call it."""
        self._arrived.put(None)

    def _take(self, until: float) -> list[tuple[Any, Future] | None]:
        """What has arrived by `until` on the monotonic clock: it waits for the first alone."""
        left = None if until == np.inf else max(until - time.monotonic(), 0.0)
        arrived = []
        try:
            arrived.append(self._arrived.get(timeout=left))
            while True:
                arrived.append(self._arrived.get_nowait())
        except queue.Empty:
            return arrived

    def close(self) -> None:
        """Ends the workers, and the connection to Ray if this fleet made it."""
        import ray

        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []
        if self._connection.made_here:
            ray.shutdown()
        if self._connection.scratch is not None:
            self._connection.scratch.remove()

    def _submit(self, slot: _Slot, call: Any, timeout: float | None = None) -> None:
        slot.call = call
        slot.deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        call.future().add_done_callback(lambda done: self._arrived.put((call, done)))

    def _collect(self, slot: _Slot, done: Future) -> Turn | None:
        from ray.exceptions import RayError, RayTaskError

        try:
            answer = done.result()
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UserError):
                raise UserError(str(cause)) from error
            return self._fail(slot, f"{type(cause).__name__}: {cause}")
        except RayError as error:
            # Beside a dead actor: the machine had no memory or died, or the answer was lost.
            return self._fail(slot, f"the simulator process died ({_first_line(error)})")
        slot.call = None
        if slot.starting:
            slot.starting = False
            if slot.spec is None:
                self.wake()  # it can begin an episode
            else:
                self._submit(slot, slot.actor.start.remote(slot.spec))
            return None
        turn: Turn = pickle.loads(answer)
        if turn.episode is not None:
            slot.spec = None
        return turn

    def _expire(self, slot: _Slot) -> Turn | None:
        limit = self._start_timeout if slot.starting else self._timeout
        return self._fail(slot, f"the simulator did not answer within {limit:g} s")

    def _fail(self, slot: _Slot, error: str) -> Turn | None:
        import ray

        if slot.starting:
            # The episode cannot be blamed: nothing was run.
            raise UserError(
                f"no worker could be started in the place of one that was lost: {error}; look "
                "after the machine or the cluster, then run the same command to go on"
            )
        ray.kill(slot.actor)
        self.replaced += 1
        slot.actor, slot.starting = self._new_actor(), True
        self._submit(slot, slot.actor.ready.remote(), self._start_timeout)
        spec = slot.spec
        assert spec is not None
        if slot.tries < self._max_tries:
            slot.tries += 1
            return None
        slot.spec, slot.task, slot.fork = None, None, None
        return Turn(spec.key, 0, episode=self._crashed(spec, error))

    def _crashed(self, spec: EpisodeSpec, error: str) -> Episode:
        task = load_task(spec.key.suite, spec.key.task_id)
        return Episode(
            key=spec.key,
            instruction=task.language,
            outcome="crashed",
            max_steps=task.max_steps,
            assets=self._config.assets,
            model=self._config.model,
            perturbation="none" if spec.perturbation is None else str(spec.perturbation),
            object_names=(),
            steps=Recording(()).steps(),
            contacts=(),
            queries=no_queries(self._config.chunk),
            error=error,
        )

    def _new_actor(self) -> Any:
        options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}
        # A cluster's processes do not inherit this one's environment.
        environment = {**_WORKER_ENVIRONMENT, VARIABLE: ",".join(named_modules())}
        if self._connection.scratch is not None:
            # A worker that is killed leaves its temporary files: they go with this folder.
            environment["TMPDIR"] = str(self._connection.scratch.path)
        runtime = {"env_vars": environment}
        return self._actor_class.options(**options, runtime_env=runtime).remote(
            self._worker_class, self._config
        )

    def _await_workers(self) -> None:
        import ray
        from ray.exceptions import RayError

        calls = [slot.actor.ready.remote() for slot in self._slots]
        ready, waiting = ray.wait(calls, num_returns=len(calls), timeout=self._start_timeout)
        try:
            ray.get(ready)
        except RayError as error:
            raise UserError(f"a simulator worker cannot start: {_first_line(error)}") from error
        if waiting:
            raise UserError(
                f"only {len(ready)} of {self.num_workers} workers started within "
                f"{self._start_timeout:g} s: the cluster has no room for more; lower --num_workers"
            )


def _connect(address: str | None, num_workers: int) -> _Connection:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray prints a paragraph for every lost worker; the fleet counts and replaces them.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "worker died or was killed")
    if address is None:
        # Ray reads it as it is imported, and then listens on loopback alone, on any system.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        return _Connection(made_here=False)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        _check_reachable(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster at {address!r}: {_first_line(error)}") from error
        return _Connection(made_here=True)
    scratch = Scratch()
    short = len(str(scratch.path)) <= _LONGEST_RAY_FOLDER
    try:
        ray.init(
            # Without an address Ray would join a cluster that RAY_ADDRESS names.
            address="local",
            # A worker that is being killed still holds its share.
            num_cpus=2 * num_workers + 1,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(scratch.path) if short else None,
            **quiet,
        )
    except BaseException:
        scratch.remove()
        raise
    return _Connection(made_here=True, scratch=scratch)


def _check_reachable(address: str) -> None:
    # Ray itself would try for many minutes.
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        raise UserError(f"no Ray cluster at {address!r}: {error}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
