"""Arms of a tiny policy, all in one batch, while three motions alarm."""

import dataclasses

import jax
import numpy as np

from mist_jax.action_units import to_units
from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.evaluation.arms.beforehand.oracle import Foreseen, Oracle
from mist_jax.evaluation.arms.beforehand.replays import Replays
from mist_jax.evaluation.arms.build import build_arms, build_controller
from mist_jax.evaluation.arms.registry import ARMS
from mist_jax.evaluation.arms.run_numbers import RunNumbers
from mist_jax.intervention.forecast.risk_head import RiskHead
from mist_jax.policy.openvla_oft.sites import sites_of
from mist_jax.record.episode import EpisodeKey
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.episode_spec import Turn
from mist_jax.signed import DIMENSION
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.causal.effects import MotionEffect
from mist_jax.steering.conceptors.bank import ConceptorBank
from mist_jax.steering.conceptors.fit import Conceptors
from mist_jax.steering.extraction import random_directions
from mist_jax.steering.proof import Proof
from tests.helpers.rollout_samples import SMALL, inputs_of

LAYERS = (2, 3)
NAMES = tuple(row.name for row in ARMS)
DANGER = ("x+", "z-", "roll+")
ALARMS = np.array([-1.0 if name in DANGER else np.inf for name in SIGNED_MOTIONS], np.float32)
NEVER = np.full(14, np.inf, np.float32)
SIZE = to_units(0.004, 0.04, 8)  # 0.01 of an action, so that a first-order push holds
EFFECT = MotionEffect("x+", 9, 9, (1.0, 1.0, 1.0), (1.0,), (0.0, 0.0, 0.0), flips=0, push=0.1)
PLACE = ("libero_spatial", 0)
WANTED = SIZE * np.array([-1, 0, 1, -1, 0, 0, 0], np.float32)  # against DANGER
THERE = np.array([0.01, 0, -0.01, 0, 0, 0, 0], np.float32)


def directions(layers: tuple[int, ...] = LAYERS) -> SteeringBank:
    found = random_directions(SIGNED_MOTIONS, len(layers), SMALL.width, seed=3)
    found = dataclasses.replace(found, method="contrast")
    norms = np.linspace(2.0, 3.0, len(layers)).astype(np.float32)
    # As if a tenth of the activations' norm moved every dimension by SIZE.
    proofs = {
        ("contrast", name): Proof(
            EFFECT, float(0.1 / SIZE[DIMENSION[i]] if SIZE[DIMENSION[i]] else 0)
        )
        for i, name in enumerate(SIGNED_MOTIONS)
    }
    return SteeringBank.join([found], norms, SMALL.layers, BankMetadata(layers=layers), proofs)


def conceptors(steered: tuple[int, ...] = LAYERS) -> ConceptorBank:
    """Random ellipsoids, one for each signed motion; each takes a tenth of the way to give SIZE."""
    rng, count, rank = np.random.default_rng(5), len(SIGNED_MOTIONS), 3
    shape = (count, len(steered), SMALL.width)
    found = Conceptors(
        method="conceptor",
        names=tuple(SIGNED_MOTIONS),
        basis=np.linalg.qr(rng.normal(size=(*shape, rank)))[0].astype(np.float32),
        kept=np.full((*shape[:2], rank), 0.8, np.float32),
        centre=rng.normal(size=shape).astype(np.float32),
    )
    proofs = {
        ("conceptor", name): Proof(
            EFFECT, float(0.1 / SIZE[DIMENSION[i]] if SIZE[DIMENSION[i]] else 0)
        )
        for i, name in enumerate(SIGNED_MOTIONS)
    }
    metadata = BankMetadata(layers=steered)
    return ConceptorBank.join((found,), SMALL.layers, metadata, proofs)


def turn(arm: str, state: int = 0, step: int = 8) -> Turn:
    key = EpisodeKey(*PLACE, state, 0, arm)
    inputs = inputs_of(dataclasses.replace(key, arm="none"), step)
    return Turn(key, step, inputs=inputs, instruction="pick up the bowl", max_steps=220)


def numbers_of(bank, threshold=ALARMS, **changes) -> RunNumbers:
    elsewhere = EpisodeKey(*PLACE, 77, 0, "mist")
    given = {
        "alarm_threshold": np.asarray(threshold, np.float32),
        "size": SIZE,
        "causal": bank,
        "directions": directions(),
        "conceptors": conceptors(),
        "replays": Replays({PLACE: ((elsewhere, np.stack([THERE, 0 * THERE, THERE])),)}),
        "oracle": Oracle({(*PLACE, 0, 0): Foreseen(frozenset({8}), np.array([0, 0, 1.0]))}),
    }
    return RunNumbers(**{**given, **changes})  # pyright: ignore[reportArgumentType]


def actor_of(policy, numbers: RunNumbers, names=NAMES, batch: int = 0, layer: int = 0, head=None):
    batch = batch or len(names)
    head = head or RiskHead.initial(
        jax.random.key(0), sites={"llm.resid": SMALL.width}, hidden=8, layer=layer
    )
    controller = build_controller(names, head, numbers, sites=sites_of(SMALL), batch=batch)
    return PolicyActor(policy, batch, controller=controller, arms=build_arms(names, numbers))


def answers(policy, numbers, names=NAMES, query: int = 0, layer: int = 0):
    actor = actor_of(policy, numbers, names, layer=layer)
    turns = [turn(name) for name in names]
    for before in range(query):
        actor.answer(turns, [before] * len(turns))
    said = actor.answer(turns, [query] * len(turns))
    return dict(zip(names, said, strict=True))
