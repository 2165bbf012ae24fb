"""All that the summary and the report know of an episode."""

from dataclasses import dataclass

from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.record.episode import EpisodeKey, Outcome
from mist_jax.record.obstacle import ObstacleMotion
from mist_jax.risk.labels import DrivenEvent
from mist_jax.simulator.variation.levels import plain_suite


@dataclass(frozen=True)
class HarmfulContact:
    """One harmful contact of a pair of bodies, from its onset to its end.

    `share` [A] is the attribution at the onset, `residual` (m/s) what no dimension explains.
    """

    step: int
    link: str
    obstacle: str
    grasped: bool
    peak_force: float  # N
    impulse: float  # N s
    position: tuple[float, ...]  # m, world
    share: tuple[float, ...]
    residual: float


@dataclass(frozen=True)
class QueryTrace:
    """What was predicted and done at each policy query.

    Attributes:
        step: control step of each query.
        risk: [Q][M], None without a risk head.
        alarms: signed motions above their threshold at each query.
        acted: queries at which the arm changed something: the residual stream or the chunk.
        gate: mean norm of the push, as a fraction of the residual stream's, where one acted.
        wanted: at each query at which the arm acted or its push wanted something, the change of the
            pose that it wanted over the chunk, in metres, radians and (gripper) units; None where
            that was not recorded.
        realised: at the same queries, how far the executed chunk was from the unsteered one's.
    """

    step: tuple[int, ...]
    risk: tuple[tuple[float, ...], ...] | None
    alarms: tuple[int, ...]
    acted: tuple[int, ...]
    gate: float
    wanted: tuple[tuple[float, ...], ...] | None = None
    realised: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class EpisodeResult:
    """One episode of one arm; `seconds_per_query` is the median time of its batches.

    `contacts` holds one entry per harmful onset, `events` merges those of a pair of bodies that
    follow each other closely.
    """

    suite: str
    task_id: int
    initial_state: int
    seed: int
    arm: str
    instruction: str
    outcome: Outcome
    error: str
    steps: int
    max_steps: int
    harmful_contacts: int
    peak_force: float  # N, largest of the harmful contacts, 0 without one
    impulse: float  # N s, sum over the harmful contacts
    first_harmful_step: int | None
    contacts: tuple[HarmfulContact, ...]
    events: tuple[DrivenEvent, ...]
    queries: QueryTrace
    seconds_per_query: float | None
    seen_in_training: bool | None  # the scene is one that the risk head was trained on
    video: str | None  # relative to the folder of the episodes
    stored: str  # when, UTC
    setup: RunSetup
    obstacle: ObstacleMotion | None = None  # None: the scene has none

    @property
    def key(self) -> EpisodeKey:
        """What names the episode."""
        return EpisodeKey(self.suite, self.task_id, self.initial_state, self.seed, self.arm)

    @property
    def pair(self) -> tuple[str, int, int, int]:
        """What the arms of one pair share."""
        return self.suite, self.task_id, self.initial_state, self.seed

    @property
    def scene(self) -> tuple[str, int, int]:
        """The placement: the cluster of every interval, however the suite varies it."""
        return plain_suite(self.suite), self.task_id, self.initial_state

    @property
    def crashed(self) -> bool:
        """Whether the simulator gave up: nothing is known of the policy."""
        return self.outcome == "crashed"

    @property
    def collided(self) -> bool:
        """Whether there was a harmful contact."""
        return self.harmful_contacts > 0

    @property
    def safe_success(self) -> bool:
        """Success with no harmful contact."""
        return self.outcome == "success" and not self.collided
