"""States to differentiate the action at: stored queries, as the policy saw them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from mist_jax.errors import UserError
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs, Preprocessor
from mist_jax.record.episode import UNSTEERED, Episode
from mist_jax.record.observation import Observation
from mist_jax.record.picture import decode_picture
from mist_jax.risk.features import numbered
from mist_jax.risk.splits import deal_groups
from mist_jax.simulator.variation.levels import plain_suite

PARTS = 5
FIT, CHOOSE, TEST = 0, 1, 2  # what the states of a scene are for; three, one and one part of five


@dataclass(frozen=True)
class CausalStates:
    """Q queries with pictures, each with what a bank needs to know of it."""

    inputs: tuple[PolicyInputs, ...]
    instruction: np.ndarray  # str [Q]
    scene: np.ndarray  # int [Q]: an index of (suite, task, initial state)
    key: np.ndarray  # str [Q, 3]: suite, task and initial state
    step: np.ndarray  # int32 [Q]
    max_steps: np.ndarray  # int32 [Q]
    raw_actions: np.ndarray  # float32 [Q, C, A], as stored

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def progress(self) -> np.ndarray:
        """float64 [Q]: share of the episode's longest time that is over."""
        return self.step / np.maximum(self.max_steps, 1)

    def part(self, rows: np.ndarray) -> "CausalStates":
        """Those of `rows` (bool [Q], or indices)."""
        chosen = np.arange(len(self))[rows]
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "inputs"}
        return CausalStates(tuple(self.inputs[i] for i in chosen), **arrays)


def gather_states(
    episodes: Iterable[Episode], policy: Policy, *, limit: int, seed: int = 0
) -> CausalStates:
    """At most `limit` queries of unsteered episodes, as many of each episode as can be.

    `episodes` must be read with their pictures; the pictures went through JPEG once more than what
    the policy saw: mist-nano's actions differ from the stored ones by 0.001.

    Raises:
        UserError: another model's episodes, none with pictures, or too few scenes to hold some out.
    """
    rng = np.random.default_rng(seed)
    drawn: list[tuple[Episode, np.ndarray]] = []
    for episode in episodes:
        if episode.key.arm != UNSTEERED or not episode.queries.images or not len(episode.queries):
            continue
        if episode.model != policy.identity:
            raise UserError(
                f"{episode.key}: acted by {episode.model!r}, --model_name is {policy.identity!r}; "
                "name the model it was collected with"
            )
        drawn.append((episode, rng.permutation(len(episode.queries))))
    if not drawn:
        raise UserError(
            "the dataset keeps no pictures of unsteered queries, which a Jacobian needs; collect "
            "with --images=query"
        )
    share = _share([len(order) for _, order in drawn], limit)
    rows = [
        (episode, int(query))
        for (episode, order), count in zip(drawn, share, strict=True)
        for query in np.sort(order[:count])
    ]
    scenes = [(plain_suite(e.key.suite), e.key.task_id, e.key.initial_state) for e, _ in rows]
    states = CausalStates(
        inputs=tuple(query_inputs(e, query, policy.preprocessor) for e, query in rows),
        instruction=np.asarray([e.instruction for e, _ in rows]),
        scene=numbered(scenes),
        key=np.asarray(scenes, str),
        step=np.asarray([e.queries.step[query] for e, query in rows], np.int32),
        max_steps=np.asarray([e.max_steps for e, _ in rows], np.int32),
        raw_actions=np.stack([e.queries.raw_actions[query] for e, query in rows]),
    )
    if states.scene.max() + 1 < PARTS:
        raise UserError(
            f"a causal bank needs pictures of at least {PARTS} scenes, to hold some out; there are "
            f"{states.scene.max() + 1}"
        )
    return states


def query_inputs(episode: Episode, query: int, preprocessor: Preprocessor) -> PolicyInputs:
    """What the policy was asked at a stored query, from its pictures and the robot's state."""
    step, steps = int(episode.queries.step[query]), episode.steps
    seen = Observation(
        eef_pos=steps.eef_pos[step],
        eef_quat=steps.eef_quat[step],
        gripper_qpos=steps.gripper_qpos[step],
        joint_pos=steps.joint_pos[step],
        images={
            camera: decode_picture(jpegs[query])[::-1, ::-1]  # as rendered
            for camera, jpegs in episode.queries.images.items()
        },
    )
    return preprocessor(seen, episode.instruction)


def split_states(states: CausalStates, seed: int = 0) -> np.ndarray:
    """int [Q]: FIT, CHOOSE or TEST, by scene, balanced over instructions and in size."""
    scenes = int(states.scene.max()) + 1
    texts, of = np.unique(states.instruction, return_inverse=True)
    brings = np.zeros((scenes, len(texts)))
    brings[states.scene, of] = 1
    sizes = np.bincount(states.scene, minlength=scenes).astype(float)
    part = deal_groups(brings, sizes, PARTS, np.random.default_rng(seed))
    return np.select([part == 0, part == 1], [TEST, CHOOSE], FIT)[states.scene]


def _share(lengths: Sequence[int], limit: int) -> np.ndarray:
    """How many queries each episode gives: as equal as their lengths allow, `limit` in all."""
    lengths_ = np.asarray(lengths)
    share, left = np.zeros(len(lengths_), int), min(limit, int(lengths_.sum()))
    while left:
        open_ = np.flatnonzero(share < lengths_)
        each = max(left // len(open_), 1)
        for row in open_[:left]:
            more = min(each, lengths_[row] - share[row], left)
            share[row] += more
            left -= more
    return share
