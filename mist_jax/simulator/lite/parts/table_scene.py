"""The room of the table-top tasks: floor, walls, table, lights and cameras."""

import xml.etree.ElementTree as ET

from mist_jax.simulator.lite.tools import mjcf
from mist_jax.simulator.lite.tools.textures import planks, plaster, png_bytes, wood

_TABLE = "martin_novak_wood_table.png"
_FLOOR = "light-gray-floor-tile.png"
_WALL = "light-gray-plaster.png"

# Name: position, quaternion, half width and half height (m); all 2 cm thick.
_WALLS = {
    "wall_leftcorner_visual": (
        (-1.25, 2.25, 1.5),
        (0.6532815, 0.6532815, 0.2705981, 0.2705981),
        (1.06, 1.5),
    ),
    "wall_rightcorner_visual": (
        (-1.25, -2.25, 1.5),
        (0.6532815, 0.6532815, -0.2705981, -0.2705981),
        (1.06, 1.5),
    ),
    "wall_left_visual": ((1.25, 3, 1.5), (0.7071, 0.7071, 0, 0), (1.75, 1.5)),
    "wall_right_visual": ((1.25, -3, 1.5), (0.7071, -0.7071, 0, 0), (1.75, 1.5)),
    "wall_rear_visual": ((-2, 0, 1.5), (0.5, 0.5, 0.5, 0.5), (1.5, 1.5)),
    "wall_front_visual": ((3, 0, 1.5), (0.5, 0.5, -0.5, -0.5), (3, 1.5)),
}

# Name: position (m) and quaternion. The task moves agentview and frontview.
_CAMERAS = {
    "frontview": ((1.0, 0, 1.45), (0.56, 0.43, 0.43, 0.56)),
    "birdview": ((-0.2, 0, 3.0), (0.7071, 0, 0, 0.7071)),
    "agentview": ((0.5, 0, 1.35), (0.653, 0.271, 0.271, 0.653)),
    "sideview": (
        (-0.05651774593317116, 1.2761224129427358, 1.4879572214102434),
        (0.009905065491771751, 0.006877963156909582, 0.5912228352893879, 0.806418094001364),
    ),
}

_LIGHTS = {"light1": (1.0, 1.0, 4.0), "light2": (-3.0, -3.0, 4.0)}


def add_room_assets(asset: ET.Element) -> None:
    """Sky, floor and wall textures and their materials."""
    mjcf.add(
        asset,
        "texture",
        type="skybox",
        builtin="gradient",
        rgb1="0.9 0.9 1",
        rgb2="0.2 0.3 0.4",
        width="256",
        height="256",
    )
    # LIBERO's arena puts the file of its floor or wall style in place of the one named here.
    for name, file in (("texplane", _FLOOR), ("tex-wall", _WALL)):
        mjcf.add(asset, "texture", name=name, type="2d", file=f"../textures/{file}")
    tiling = {"texrepeat": "3 3", "texuniform": "true"}
    mjcf.add(
        asset,
        "material",
        name="floorplane",
        texture="texplane",
        **tiling,
        specular="0",
        shininess="0",
    )
    mjcf.add(
        asset,
        "material",
        name="walls_mat",
        texture="tex-wall",
        **tiling,
        specular="0.8",
        shininess="0.1",
    )


def add_floor(parent: ET.Element) -> None:
    """The plane to which everything may fall."""
    mjcf.add(
        parent,
        "geom",
        name="floor",
        type="plane",
        pos="0 0 0",
        size="3 3 0.125",
        condim="3",
        group="1",
        material="floorplane",
    )


def add_walls(world: ET.Element) -> None:
    """Six walls that are only seen."""
    for name, (pos, quat, (width, height)) in _WALLS.items():
        mjcf.add(
            world,
            "geom",
            **mjcf.VISUAL,
            name=name,
            type="box",
            pos=mjcf.text(pos),
            quat=mjcf.text(quat),
            size=mjcf.text((width, height, 0.01)),
            material="walls_mat",
        )


def add_lights_and_cameras(world: ET.Element) -> None:
    """Two spot lights from above without shadows, four fixed cameras."""
    for name, pos in _LIGHTS.items():
        mjcf.add(
            world,
            "light",
            name=name,
            pos=mjcf.text(pos),
            dir="0 -0.15 -1",
            diffuse="0.8 0.8 0.8",
            specular="0.3 0.3 0.3",
            directional="false",
            castshadow="false",
        )
    for name, (pos, quat) in _CAMERAS.items():
        mjcf.add(world, "camera", name=name, mode="fixed", pos=mjcf.text(pos), quat=mjcf.text(quat))


def _add_table(world: ET.Element) -> None:
    """A box and four legs; the arena class sets their sizes."""
    table = mjcf.add(world, "body", name="table", pos="0 0 0.4")
    top = {"type": "box", "pos": "0 0 0", "size": "0.4 0.4 0.4"}
    mjcf.add(table, "geom", **top, name="table_collision", group="0", friction="1 0.005 0.0001")
    mjcf.add(table, "geom", **top, **mjcf.VISUAL, name="table_visual", material="table_texture")
    mjcf.add(
        table, "site", name="table_top", pos="0 0 0.4", size="0.001 0.001 0.001", rgba="0 0 0 0"
    )
    for leg in range(1, 5):
        mjcf.add(
            table,
            "geom",
            **mjcf.VISUAL,
            name=f"table_leg{leg}_visual",
            type="cylinder",
            pos="0 0 0",
            size="0.05 0.1",
            material="table_legs",
        )


def _model() -> bytes:
    mujoco = ET.Element("mujoco", model="table_arena")
    asset = mjcf.add(mujoco, "asset")
    add_room_assets(asset)
    for name in ("tex-table", "tex-table-legs"):
        mjcf.add(asset, "texture", name=name, type="cube", file=f"../textures/{_TABLE}")
    mjcf.add(
        asset,
        "material",
        name="table_texture",
        texture="tex-table",
        shininess="0",
        specular="0.2",
    )
    mjcf.add(
        asset,
        "material",
        name="table_legs",
        texture="tex-table-legs",
        shininess="0.8",
    )
    world = mjcf.add(mujoco, "worldbody")
    add_floor(world)
    add_walls(world)
    _add_table(world)
    add_lights_and_cameras(world)
    return mjcf.xml_bytes(mujoco)


def files() -> dict[str, bytes]:
    """Scene and textures by path."""
    return {
        "scenes/libero_tabletop_base_style.xml": _model(),
        f"textures/{_TABLE}": png_bytes(wood(256, (198, 181, 163), 12, 3, seed=6)),
        f"textures/{_FLOOR}": png_bytes(planks(256, (193, 184, 175), (232, 227, 220), 4, seed=7)),
        f"textures/{_WALL}": png_bytes(plaster(256, (223, 219, 212), 4, seed=8)),
    }
