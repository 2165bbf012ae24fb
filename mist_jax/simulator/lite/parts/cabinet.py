"""The wooden cabinet: a dark wooden shell, 26 x 19 x 22 cm, with three drawers on slide joints."""

import xml.etree.ElementTree as ET
from typing import NamedTuple

import numpy as np

from mist_jax.simulator.lite.tools import mjcf
from mist_jax.simulator.lite.tools.mesh import (
    Mesh,
    cylinder,
    merge,
    mesh_of_boxes,
    moved,
    msh_bytes,
    rotation_matrix,
)
from mist_jax.simulator.lite.tools.mjcf import Boxes
from mist_jax.simulator.lite.tools.textures import brushed_metal, png_bytes, wood

_FOLDER = "articulated_objects"
_NAME = "wooden_cabinet"

_BACK_AND_BOTTOM = (0.70792, 0.00065, 0.70629, -0.00065)
_FACING = (0.5, 0.5, -0.5, -0.5)
_FACING_BACK = (0.5, 0.5, 0.5, 0.5)
_ALONG = (0.70711, 0.70711, -0.00115, -0.00115)
_FLAT = (0.70711, 0.0, 0.70711, 0.0)
_POST = (0.70711, 0.70711, 0.0, 0.0)

# Back, bottom, sides, back again, three shelves, top.
SHELL = (
    Boxes(
        (0.00193, 0.10453, 0.11106),
        ((0.00397, 0.10954, 0.1135, 0.49988, -0.50104, -0.50012, 0.49896),),
    ),
    Boxes((0.00199, 0.0896, 0.12277), ((0.00405, 0.01635, 0.00686, *_BACK_AND_BOTTOM),)),
    Boxes(
        (0.00517, 0.09542, 0.10584),
        (
            (-0.11216, 0.01625, 0.11426, 0.0, 0.0, 1.0, 0.0),
            (0.11898, 0.01625, 0.11426, 0.0, 1.0, 0.0, 0.0),
        ),
    ),
    Boxes(
        (0.00231, 0.10584, 0.11912),
        ((0.00211, 0.10938, 0.11426, 0.49997, 0.49997, -0.50003, -0.50003),),
    ),
    Boxes(
        (0.00085, 0.08935, 0.11168),
        (
            (0.00376, 0.01868, 0.14935, *_BACK_AND_BOTTOM),
            (0.00408, 0.01868, 0.00933, 0.00065, -0.70792, 0.00065, 0.70629),
            (0.00392, 0.01868, 0.07928, *_BACK_AND_BOTTOM),
        ),
    ),
    Boxes((0.00142, 0.09409, 0.12729), ((0.00394, 0.01577, 0.22157, *_FLAT),)),
)


class Drawer(NamedTuple):
    """One drawer: z (m) of its parts, and the order in which LIBERO lists its four inner walls."""

    name: str
    region_z: float
    front_z: float
    wall_z: float
    floor_z: float
    handle_z: float
    walls: str

    def panels(self) -> tuple[Boxes, ...]:
        """Front, inner walls and floor."""
        wall = {
            "front": Boxes(
                (0.00356, 0.03214, 0.10679), ((0.00334, -0.06839, self.wall_z, *_FACING_BACK),)
            ),
            "back": Boxes(
                (0.00356, 0.03214, 0.10679), ((0.00334, 0.09077, self.wall_z, *_FACING_BACK),)
            ),
            "left": Boxes(
                (0.00241, 0.03165, 0.08148), ((-0.10191, 0.01105, self.wall_z, *_ALONG),)
            ),
            "right": Boxes(
                (0.00241, 0.03133, 0.08148), ((0.10894, 0.01105, self.wall_z, *_ALONG),)
            ),
        }
        return (
            Boxes((0.00271, 0.03427, 0.10934), ((0.00334, -0.07524, self.front_z, *_FACING),)),
            *(wall[side] for side in self.walls.split()),
            Boxes((0.00401, 0.08095, 0.10696), ((0.00348, 0.01048, self.floor_z, *_FLAT),)),
        )

    def handle(self) -> tuple[Boxes, ...]:
        """Bar and its two posts."""
        return (
            Boxes((0.0077, 0.00817, 0.04445), ((-0.00278, -0.10161, self.handle_z, *_FACING),)),
            Boxes((0.00507, 0.00552, 0.01057), ((0.02916, -0.08348, self.handle_z, *_POST),)),
            Boxes((0.00507, 0.0056, 0.01057), ((-0.0356, -0.08348, self.handle_z, *_POST),)),
        )

    def handle_mesh(self) -> Mesh:
        """The same handle, round."""
        bar, *posts = self.handle()
        along_x = rotation_matrix((1, 0, 1, 0))
        along_y = rotation_matrix((1, 1, 0, 0))
        parts = [moved(cylinder(0.0082, bar.half_size[2], 14), along_x, bar.poses[0][:3])]
        for post in posts:
            parts.append(moved(cylinder(0.0053, 0.0105, 10), along_y, post.poses[0][:3]))
        return merge(parts)


DRAWERS = (
    Drawer("top", 0.18563, 0.18309, 0.18358, 0.15514, 0.18393, "front back left right"),
    Drawer("middle", 0.1169, 0.11338, 0.11387, 0.08543, 0.11041, "back front right left"),
    Drawer("bottom", 0.04701, 0.04476, 0.04525, 0.01682, 0.04114, "back front right left"),
)


def _add_drawer(base: ET.Element, drawer: Drawer) -> None:
    body = mjcf.add(base, "body", name=f"cabinet_{drawer.name}", pos="0 0 0")
    mjcf.add(body, "inertial", pos="0 0 0", mass="3", diaginertia="1 1 1")
    mjcf.add(
        body,
        "joint",
        name=f"{drawer.name}_level",
        type="slide",
        axis="0 1 0",
        limited="true",
        range="-0.16 0.01",
        damping="50",
    )
    mjcf.add_site_box(
        body,
        f"{drawer.name}_region",
        (0.00328, 0.01128, drawer.region_z),
        (0.02993, 0.07561, 0.10224),
        _FLAT,
    )
    mjcf.add_visual_mesh(body, f"{_NAME}_{drawer.name}_vis", f"{_NAME}_wood")
    mjcf.add_contact_boxes(body, drawer.panels())
    mjcf.add_visual_mesh(body, f"{_NAME}_{drawer.name}_handle_vis", f"{_NAME}_metal")
    mjcf.add_contact_boxes(body, drawer.handle())


def _meshes() -> dict[str, Mesh]:
    meshes = {"base": mesh_of_boxes(SHELL)}
    for drawer in DRAWERS:
        meshes[drawer.name] = mesh_of_boxes(drawer.panels())
        meshes[f"{drawer.name}_handle"] = drawer.handle_mesh()
    return meshes


def _mesh_file(part: str) -> str:
    return f"{_NAME}/{_NAME}_{part}/visual/{_NAME}_{part}_vis.msh"


def _model(parts: list[str]) -> bytes:
    mujoco, asset, wrapper, body = mjcf.new_object(_NAME)
    mjcf.add_textured_material(asset, f"{_NAME}_wood", f"{_NAME}/dark_fine_wood.png")
    mjcf.add_textured_material(asset, f"{_NAME}_metal", f"{_NAME}/metal.png")
    for part in parts:
        mjcf.add_mesh_asset(asset, f"{_NAME}_{part}_vis", _mesh_file(part))
    base = mjcf.add(body, "body", name="base", pos="0 0 0")
    mjcf.add_site_box(base, "top_side", (0.00354, 0.01567, 0.22152), (0.12534, 0.09438, 0.00147))
    mjcf.add_visual_mesh(base, f"{_NAME}_base_vis", f"{_NAME}_wood")
    mjcf.add_contact_boxes(base, SHELL)
    for drawer in DRAWERS:
        _add_drawer(base, drawer)
    mjcf.add_marker_sites(wrapper, -0.045, 0.045, 0.045, size=0.05)
    return mjcf.xml_bytes(mujoco)


def files() -> dict[str, bytes]:
    """Model, meshes and textures by path."""
    meshes = _meshes()
    # Fine dark grain, upright on the doors: the rows of `wood` become columns.
    grain = np.ascontiguousarray(wood(192, (52, 45, 39), 7, 9, seed=3).transpose(1, 0, 2))
    return {
        f"{_FOLDER}/{_NAME}.xml": _model(list(meshes)),
        f"{_FOLDER}/{_NAME}/dark_fine_wood.png": png_bytes(grain),
        f"{_FOLDER}/{_NAME}/metal.png": png_bytes(brushed_metal(64, 108, 22, seed=4)),
        **{f"{_FOLDER}/{_mesh_file(part)}": msh_bytes(mesh) for part, mesh in meshes.items()},
    }
