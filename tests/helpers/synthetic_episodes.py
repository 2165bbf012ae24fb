"""Episodes with a known answer: contacts where we put them, activations that know it or do not."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.record.queries import Queries
from mist_jax.record.steps import Steps

SITE = "llm.resid"
CHUNK = 8


def contact(
    step: int,
    dims: dict[int, float] | None = None,
    *,
    onset: bool = True,
    harmful: bool = True,
    pair: tuple[str, str] = ("hand", "plate"),
    way: float = 1.0,
) -> Contact:
    """`dims` are the shares at onset; `way` is the sign of the motion of those dimensions."""
    share = np.zeros(7)
    for dim, value in (dims or {}).items():
        share[dim] = value
    return Contact(
        step=step,
        robot_body=pair[0],
        obstacle_body=pair[1],
        grasped=False,
        harmful=harmful,
        onset=onset,
        peak_force=2.0,
        impulse=0.1,
        position=np.zeros(3),
        normal=np.array([0.0, 0.0, 1.0]),
        share=share,
        velocity=share * 0.1,
        motion=way * share * 0.1,
        residual=0.0,
    )


def episode(
    contacts: Sequence[Contact] = (),
    *,
    length: int = 96,
    task: int = 0,
    state: int = 0,
    outcome: str = "success",
    activation: np.ndarray | None = None,
    layers: tuple[int, ...] = (0,),
    model: str = "toy@1",
    suite: str = "libero_spatial",
    instruction: str = "",
) -> Episode:
    """`activation` is [Q, L, D]; without an `instruction` every task has its own."""
    steps = np.arange(length)
    query_steps = steps[::CHUNK].astype(np.int32)
    if activation is None:
        activation = np.zeros((len(query_steps), len(layers), 4), np.float32)
    return Episode(
        key=EpisodeKey(suite, task, state, 0),
        instruction=instruction or f"pick up bowl {task}",
        outcome=outcome,  # type: ignore[arg-type]
        max_steps=220,
        assets="lite",
        model=model,
        perturbation="none",
        object_names=("bowl",),
        steps=Steps(
            action=np.zeros((length, 7), np.float32),
            commanded=np.zeros((length, 7), np.float32),
            perturbed=np.zeros(length, bool),
            reward=np.zeros(length, np.float32),
            eef_pos=np.zeros((length, 3), np.float32),
            eef_quat=np.tile(np.array([0, 0, 0, 1], np.float32), (length, 1)),
            gripper_qpos=np.tile(np.array([0.02, -0.02], np.float32), (length, 1)),
            joint_pos=np.zeros((length, 7), np.float32),
            object_pose=np.zeros((length, 1, 7), np.float32),
            displacement=np.zeros((length, 1), np.float32),
            grasped=np.full(length, -1, np.int32),
        ),
        contacts=tuple(contacts),
        queries=Queries(
            step=query_steps,
            raw_actions=np.zeros((len(query_steps), CHUNK, 7), np.float32),
            activations={SITE: activation},
            layers={SITE: layers},
        ),
    )


def perturbed(made: Episode, steps: Collection[int]) -> Episode:
    """The episode with a perturbation at these control steps."""
    marks = np.isin(np.arange(len(made.steps)), list(steps))
    return replace(made, steps=replace(made.steps, perturbed=marks))


def study_episodes(
    when: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray],
    *,
    scenes: int = 60,
    layers: tuple[int, ...] = (1, 3, 5),
    width: int = 16,
    seed: int = 0,
    model: str = "toy@1",
) -> list[Episode]:
    """Gaussian activations; `when(activation [Q, L, D], step [Q], rng)` says at which queries a
    contact driven by x (share 1, moving along +x or -x) begins 3 steps later: bool [Q].

    Contacts last one step, each is of another pair of bodies, and queries are 8 steps apart: with a
    horizon of 8 a query's label about all events is exactly its own `when`, one about the first
    event is the first of those.
    """
    rng = np.random.default_rng(seed)
    made = []
    for scene in range(scenes):
        length = 96
        step = np.arange(0, length, CHUNK)
        activation = rng.normal(size=(len(step), len(layers), width)).astype(np.float32)
        risky = when(activation, step, rng)
        way = 1.0 if scene % 2 else -1.0
        made.append(
            episode(
                [
                    contact(int(s) + 3, {0: 1.0}, way=way, pair=("hand", f"object {s}"))
                    for s in step[risky]
                ],
                length=length,
                task=scene % 5,
                state=scene // 5,
                activation=activation,
                layers=layers,
                model=model,
            )
        )
    return made
