"""An environment by the name of its task."""

from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.environment.rendering import RenderMode
from mist_jax.simulator.libero.assets import AssetRequest, find_assets
from mist_jax.simulator.libero.suites import load_task


def make_environment(
    suite: str,
    task_id: int,
    *,
    assets: AssetRequest = "auto",
    camera_res: int = 256,
    render: RenderMode = "exact",
) -> Environment:
    """One task in simulation; call its `reset` first, and `close` it at the end.

    Raises:
        UserError: there is no such suite or task, or no assets for it, or nothing to render with.
    """
    task = load_task(suite, task_id)
    return Environment(task, find_assets(assets), camera_res=camera_res, render=render)
