"""One episode in this process: for looking at a policy, not for numbers."""

from mist_jax.episodes.dataset_info import ImageMode
from mist_jax.policy.policy import Policy
from mist_jax.record.episode import UNSTEERED, Episode, EpisodeKey
from mist_jax.rollout.acting.arm import Arm, Controller
from mist_jax.rollout.acting.expert_actor import ExpertActor
from mist_jax.rollout.acting.policy_actor import PolicyActor
from mist_jax.rollout.actor import Actor
from mist_jax.rollout.episode_spec import EpisodeSpec, WorkerConfig
from mist_jax.rollout.worker import Worker
from mist_jax.simulator.environment.perturbation import PerturbationSpec
from mist_jax.simulator.environment.rendering import RenderMode
from mist_jax.simulator.libero.assets import AssetRequest, find_assets


def roll_out(
    policy: Policy | None,
    suite: str,
    task_id: int,
    *,
    initial_state: int = 0,
    seed: int = 0,
    sites: tuple[str, ...] = (),
    controller: Controller | None = None,
    arm: Arm | None = None,
    perturbation: PerturbationSpec | None = None,
    images: ImageMode = "none",
    assets: AssetRequest = "auto",
    camera_res: int = 256,
    render: RenderMode = "exact",
) -> Episode:
    """The episode of a key: the same whenever and wherever it is run in batches of one.

    Args:
        policy: who acts; None: the scripted expert.
        suite: of the task.
        task_id: its place in the suite.
        initial_state: in which it begins.
        seed: of the fixtures' poses and of what is drawn.
        sites: activations to keep, of `policy.sites`.
        controller: directions, gates and risk head that `arm` draws from; None: no steering.
        arm: how the episode is treated; None: the policy as it is.
        perturbation: what disturbs the executed actions.
        images: camera pictures to keep: none, one per query, one per step.
        assets: which scene assets to simulate.
        camera_res: height and width of the cameras' pictures.
        render: LIBERO's own pixels or cheaper ones.

    Raises:
        UserError: there is no such suite, task, state or site, or assets are absent.
    """
    found = find_assets(assets)
    config = WorkerConfig(
        assets=found.kind,
        model="expert" if policy is None else policy.identity,
        camera_res=camera_res,
        render=render,
        chunk=8 if policy is None else policy.model.chunk,
        preprocessor=None if policy is None else policy.preprocessor,
    )
    actor: Actor = ExpertActor()
    if policy is not None:
        arms = None if arm is None else {arm.name: arm}
        actor = PolicyActor(policy, 1, sites=sites, controller=controller, arms=arms)
    key = EpisodeKey(suite, task_id, initial_state, seed, UNSTEERED if arm is None else arm.name)
    acting = "expert" if policy is None else "policy"
    worker, answers = Worker(config), []
    turn = worker.start(EpisodeSpec(key, acting, perturbation, images))
    while turn.episode is None:
        answers += actor.answer([turn], [len(answers)])
        turn = worker.act(answers[-1].chunk)
    worker.close()
    return actor.finish(turn.episode, answers)
