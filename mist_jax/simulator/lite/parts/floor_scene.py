"""The room of the floor tasks (libero_object): the table scene's without its table."""

import xml.etree.ElementTree as ET

from mist_jax.simulator.lite.parts.table_scene import (
    add_floor,
    add_lights_and_cameras,
    add_room_assets,
    add_walls,
)
from mist_jax.simulator.lite.tools import mjcf


def files() -> dict[str, bytes]:
    """The scene by path; its textures come with the table scene."""
    mujoco = ET.Element("mujoco", model="table_arena")
    add_room_assets(mjcf.add(mujoco, "asset"))
    world = mjcf.add(mujoco, "worldbody")
    # LIBERO looks for a body of this name.
    add_floor(mjcf.add(world, "body", name="floor", pos="0 0 0"))
    add_walls(world)
    add_lights_and_cameras(world)
    return {"scenes/libero_floor_base_style.xml": mjcf.xml_bytes(mujoco)}
