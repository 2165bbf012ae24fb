"""How far openpi's resize to 224 pixels moves what mist-nano does: the bound that is stated."""

import dataclasses

import numpy as np
import pytest

from mist_jax.loading import load_policy
from mist_jax.record.observation import CAMERAS
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suites import load_task

image_tools = pytest.importorskip("openpi_client.image_tools")


@pytest.mark.slow
@pytest.mark.libero
def test_pictures_of_224_pixels_move_actions_by_less_than_two_hundredths():
    policy, task = load_policy("mist-nano"), load_task("libero_spatial", 0)
    environment = Environment(task, find_assets("lite"))
    environment.reset(0, 0)
    for _ in range(6):
        seen = environment.observe()
        turned = {name: seen.images[name][::-1, ::-1] for name in CAMERAS}
        images = {
            name: np.ascontiguousarray(image_tools.resize_with_pad(one, 224, 224)[::-1, ::-1])
            for name, one in turned.items()
        }
        small = dataclasses.replace(seen, images=images)
        [full] = policy.predict([seen], [task.language]).actions
        [shrunk] = policy.predict([small], [task.language]).actions
        assert not np.array_equal(full, shrunk)
        np.testing.assert_allclose(shrunk[:, :6], full[:, :6], atol=0.02)
        for action in full:
            environment.step(action)
    environment.close()
