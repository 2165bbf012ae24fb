"""MJCF elements as LIBERO's Python classes want them: contact boxes, visual meshes, marker sites.

Units: metres, kilograms, radians; quaternions are wxyz. Numbers are written with `repr`, so the
compiled model holds exactly the doubles of the tables.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Contact and density of every LIBERO object (kg/m^3).
CONTACT = {
    "solimp": "0.998 0.998 0.001",
    "solref": "0.001 1",
    "density": "100",
    "friction": "0.95 0.3 0.1",
}
VISUAL = {"conaffinity": "0", "contype": "0", "group": "1"}


class Boxes(NamedTuple):
    """Contact boxes of one half size (x, y, z); each pose is (x, y, z, qw, qx, qy, qz)."""

    half_size: tuple[float, float, float]
    poses: tuple[tuple[float, float, float, float, float, float, float], ...]


def text(values: Iterable[float]) -> str:
    """Numbers as an MJCF attribute, exact to the bit."""
    return " ".join(repr(float(value)) for value in values)


def add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    """Append one element."""
    return ET.SubElement(parent, tag, attributes)


def add_contact_boxes(
    body: ET.Element, groups: Iterable[Boxes], contact: Mapping[str, str] = CONTACT
) -> None:
    """Append every box of the table as an invisible contact geom (group 0), in table order."""
    for group in groups:
        for pose in group.poses:
            add(
                body,
                "geom",
                **contact,
                type="box",
                pos=text(pose[:3]),
                quat=text(pose[3:]),
                size=text(group.half_size),
                group="0",
            )


def add_mesh_asset(asset: ET.Element, name: str, file: str) -> None:
    """Declare a mesh file, relative to the model's folder."""
    add(asset, "mesh", name=name, file=file)


def add_textured_material(asset: ET.Element, material: str, file: str) -> None:
    """Declare a 2D texture file and the material that shows it."""
    texture = f"tex-{material}"
    add(asset, "texture", name=texture, type="2d", file=file)
    add(asset, "material", name=material, texture=texture)


def add_visual_mesh(body: ET.Element, mesh: str, material: str) -> None:
    """Append a geom that is seen but never touched."""
    add(body, "geom", **CONTACT, **VISUAL, type="mesh", mesh=mesh, material=material)


def add_site_box(
    body: ET.Element,
    name: str,
    pos: tuple[float, float, float],
    size: tuple[float, float, float],
    quat: tuple[float, float, float, float] = (1, 0, 0, 0),
) -> None:
    """Append the invisible box of a named region ("top_region", "contain_region")."""
    add(
        body,
        "site",
        name=name,
        type="box",
        pos=text(pos),
        quat=text(quat),
        size=text(size),
        group="0",
        rgba="0.8 0.8 0.8 0",
    )


def new_object(model: str) -> tuple[ET.Element, ET.Element, ET.Element, ET.Element]:
    """Empty object: (mujoco, asset, wrapper body for the marker sites, body "object")."""
    mujoco = ET.Element("mujoco", model=model)
    asset = add(mujoco, "asset")
    wrapper = add(add(mujoco, "worldbody"), "body")
    return mujoco, asset, wrapper, add(wrapper, "body", name="object")


def add_marker_sites(
    wrapper: ET.Element, bottom: float, top: float, radius: float, size: float = 0.005
) -> None:
    """Append the three sites from which the placement sampler reads an object's extent."""
    markers = {
        "bottom_site": (0.0, 0.0, bottom),
        "top_site": (0.0, 0.0, top),
        "horizontal_radius_site": (radius, radius, 0.0),
    }
    for name, pos in markers.items():
        add(wrapper, "site", name=name, pos=text(pos), size=text([size]), rgba="0 0 0 0")


def xml_bytes(mujoco: ET.Element) -> bytes:
    """The finished file."""
    ET.indent(mujoco)
    return ET.tostring(mujoco, encoding="utf-8")


def scanned_object(
    name: str,
    contact_boxes: Iterable[Boxes],
    *,
    texture: str,
    mesh: str,
    markers: tuple[float, float, float] = (-0.06, 0.04, 0.025),
    body_pos: tuple[float, float, float] | None = None,
    region: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None,
) -> bytes:
    """A free object of one visual mesh and contact boxes.

    Args:
        name: model and material name.
        contact_boxes: its contact geometry.
        texture: PNG beside the model.
        mesh: MSH beside the model.
        markers: z of bottom_site, z of top_site, x = y of horizontal_radius_site.
        body_pos: offset of the body, where LIBERO has one.
        region: centre and half size of a "contain_region", where LIBERO has one.
    """
    mujoco, asset, wrapper, body = new_object(name)
    if body_pos is not None:
        body.set("pos", text(body_pos))
    add_textured_material(asset, name, texture)
    add_mesh_asset(asset, f"{name}_vis", mesh)
    if region is not None:
        add_site_box(body, "contain_region", *region, quat=(0, 0, 0, 1))
    add_visual_mesh(body, f"{name}_vis", name)
    add_contact_boxes(body, contact_boxes)
    add_marker_sites(wrapper, *markers)
    return xml_bytes(mujoco)
