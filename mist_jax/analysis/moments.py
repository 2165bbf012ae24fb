"""Moments of a policy at work in simulation: real observations to look inside at."""

from collections.abc import Sequence
from dataclasses import dataclass

from mist_jax.errors import UserError
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import PolicyInputs
from mist_jax.record.observation import Observation
from mist_jax.simulator.environment.make import make_environment
from mist_jax.simulator.libero.assets import AssetRequest


@dataclass(frozen=True)
class Moment:
    """What a policy was asked at one query, as `Policy.predict` takes it and preprocessed."""

    suite: str
    task_id: int
    initial_state: int
    query: int  # of its episode, 0-based
    observation: Observation
    instruction: str
    inputs: PolicyInputs


def see_moments(
    policy: Policy,
    suite: str,
    task_id: int,
    initial_states: Sequence[int],
    *,
    queries: int,
    seed: int = 0,
    assets: AssetRequest = "auto",
    camera_res: int = 256,
) -> list[Moment]:
    """The first `queries` queries of an episode from each initial state, in order.

    What `roll_out` would ask of the same scenes; an episode that reaches its goal gives fewer.

    Raises:
        UserError: no state or query, no such suite, task or state, or assets are absent.
    """
    if queries < 1 or not initial_states:
        raise UserError("name at least one initial state and one query to see")
    environment = make_environment(suite, task_id, assets=assets, camera_res=camera_res)
    seen: list[Moment] = []
    for state in initial_states:
        environment.reset(state, seed)
        words, done, query = environment.scene.instruction, False, 0
        while not done and query < queries:
            observation = environment.observe()
            inputs = policy.preprocessor(observation, words)
            where = suite, task_id, state, query
            seen.append(Moment(*where, observation, words, inputs))
            query += 1
            if query < queries:
                for action in policy.predict_inputs([inputs]).actions[0]:
                    done = done or environment.step(action)
    environment.close()
    return seen
