"""The flat stove: a 19 x 19 x 4 cm metal block with a ringed burner, and a dark knob on a hinge."""

import xml.etree.ElementTree as ET

from mist_jax.simulator.lite.tools import mjcf
from mist_jax.simulator.lite.tools.mesh import (
    Mesh,
    cylinder,
    lathe,
    merge,
    mesh_of_boxes,
    moved,
    msh_bytes,
    rotation_matrix,
)
from mist_jax.simulator.lite.tools.mjcf import Boxes
from mist_jax.simulator.lite.tools.textures import brushed_metal, png_bytes

_FOLDER = "articulated_objects"
_NAME = "flat_stove"
_BURNER_MESH = f"{_NAME}/stove_burner/burnerplate.msh"
_KNOB_MESH = f"{_NAME}/stove_knob_button/visual/stove_knob_button_vis.msh"

# Inner and outer radius (m) of the burner's metal rings; between them the hot plate shows.
_BURNER_RINGS = ((0.0, 0.0149), (0.0221, 0.0292), (0.0371, 0.0455), (0.0529, 0.0650))
_BURNER_TOP = 0.0004
_BURNER_BOTTOM = -0.0057


def _burner_mesh() -> Mesh:
    rings = []
    for inner, outer in _BURNER_RINGS:
        middle = (inner + outer) / 2
        rings.append(
            lathe(
                [
                    (inner, _BURNER_BOTTOM),
                    (inner, _BURNER_TOP - 0.001),
                    (middle, _BURNER_TOP),
                    (outer, _BURNER_TOP - 0.001),
                    (outer, _BURNER_BOTTOM),
                    (inner, _BURNER_BOTTOM),
                ],
                32,
            )
            if inner
            else moved(cylinder(outer, 0.003, 24), rotation_matrix((1, 0, 0, 0)), (0, 0, -0.0026))
        )
    # What the grooves show: below the red site, above the block.
    back = lathe([(0, -0.0047), (0.064, -0.0047), (0.064, _BURNER_BOTTOM), (0, _BURNER_BOTTOM)], 32)
    return merge([*rings, back])


def _knob_mesh() -> Mesh:
    """A round foot with a grip across it."""
    foot = moved(
        cylinder(0.0465, 0.0064, 28), rotation_matrix((1, 0, 0, 0)), (0.0012, 0.0044, 0.0064)
    )
    return merge([foot, mesh_of_boxes(KNOB[-4:])])


def _add_burner(base: ET.Element) -> None:
    burner = mjcf.add(base, "body", name="burner", pos="0.15 0 0")
    mjcf.add_site_box(burner, "cook_region", (0, 0, 0), (0.075, 0.075, 0.0025))
    # The visible block is solid too: LIBERO lists it twice, once per geom group.
    block = {
        "type": "box",
        "size": "0.095 0.095 0.02",
        "pos": "0 0 0",
        "material": f"{_NAME}_block",
    }
    mjcf.add(burner, "geom", **block, group="1", name="base_vis")
    mjcf.add(burner, "geom", **block, group="0", name="base")
    mjcf.add(
        burner,
        "geom",
        type="box",
        size="0.095 0.095 0.0005",
        pos="0 0 0.025",
        rgba="0 0 0 0",
        group="0",
        name="collision_burner",
    )
    plate = mjcf.add(burner, "body", name="burner_plate")
    mjcf.add(
        plate,
        "geom",
        **mjcf.VISUAL,
        type="mesh",
        mesh="burnerplate",
        material=f"{_NAME}_metal",
        pos="0 0 0.025",
        name="burner",
    )
    # Glows red when the knob is turned: LIBERO switches this site's alpha.
    mjcf.add(
        burner,
        "site",
        name="burner",
        type="cylinder",
        pos="0 0 0.022",
        size="0.0625 0.0005",
        rgba="0.9 0.05 0.05 1",
    )


def _add_knob(base: ET.Element) -> None:
    knob = mjcf.add(base, "body", name="button", pos="0 0 0", quat="0.7071068 0 0 0.7071068")
    mjcf.add(knob, "inertial", pos="0 0 0", mass="3", diaginertia="1 1 1")
    mjcf.add(
        knob,
        "joint",
        name="button",
        type="hinge",
        axis="0 0 1",
        limited="true",
        range="-0.005 2.1",
        damping="1",
    )
    mjcf.add(
        knob,
        "geom",
        **mjcf.CONTACT,
        **mjcf.VISUAL,
        type="mesh",
        mesh="stove_knob_button_vis",
        rgba="0.1 0.1 0.1 1",
    )
    mjcf.add_contact_boxes(knob, KNOB)


def _model() -> bytes:
    mujoco, asset, wrapper, body = mjcf.new_object(_NAME)
    # The hinge's range is in radians.
    mujoco.insert(0, ET.Element("compiler", angle="radian"))
    # LIBERO's block is a mirror, white from the side and dark from above. A mirror renders the room
    # twice (57 instead of 36 ms an image): this one is light grey.
    mjcf.add_textured_material(asset, f"{_NAME}_block", f"{_NAME}/block.png")
    mjcf.add_textured_material(asset, f"{_NAME}_metal", f"{_NAME}/metal.png")
    mjcf.add_mesh_asset(asset, "burnerplate", _BURNER_MESH)
    mjcf.add_mesh_asset(asset, "stove_knob_button_vis", _KNOB_MESH)
    base = mjcf.add(body, "body", name="base", pos="0 0 0")
    _add_burner(base)
    _add_knob(base)
    mjcf.add_marker_sites(wrapper, -0.045, 0.045, 0.045, size=0.05)
    return mjcf.xml_bytes(mujoco)


def files() -> dict[str, bytes]:
    """Model, meshes and texture by path."""
    return {
        f"{_FOLDER}/{_NAME}.xml": _model(),
        f"{_FOLDER}/{_NAME}/block.png": png_bytes(brushed_metal(256, 170, 11, seed=9)),
        f"{_FOLDER}/{_NAME}/metal.png": png_bytes(brushed_metal(256, 108, 11, seed=5)),
        f"{_FOLDER}/{_BURNER_MESH}": msh_bytes(_burner_mesh()),
        f"{_FOLDER}/{_KNOB_MESH}": msh_bytes(_knob_mesh()),
    }


# The knob's foot, then (last four) its grip.
KNOB = (
    Boxes(
        (0.00621, 0.03396, 0.03396),
        ((0.00132, 0.00458, 0.00657, 0.00206, -0.7071, 0.00206, 0.7071),),
    ),
    Boxes(
        (0.00296, 0.00621, 0.02939),
        (
            (0.00111, -0.03234, 0.00657, 0.49854, 0.49854, -0.50145, -0.50145),
            (0.00111, -0.03234, 0.00657, 0.49854, 0.49854, -0.50145, -0.50145),
        ),
    ),
    Boxes(
        (0.00211, 0.00621, 0.02497),
        ((0.00108, -0.0365, 0.00657, 0.49855, -0.49855, 0.50145, -0.50145),),
    ),
    Boxes(
        (0.00211, 0.00621, 0.01416),
        (
            (0.00105, -0.04112, 0.00657, 0.49854, 0.49854, -0.50145, -0.50145),
            (0.00158, 0.04983, 0.00657, 0.49855, 0.49855, -0.50145, -0.50145),
        ),
    ),
    Boxes(
        (0.00211, 0.00621, 0.02497),
        ((0.00156, 0.0464, 0.00657, 0.50145, 0.50145, 0.49855, 0.49855),),
    ),
    Boxes(
        (0.00296, 0.00621, 0.02939),
        (
            (0.00154, 0.04175, 0.00657, 0.50145, 0.50145, 0.49854, 0.49854),
            (0.0385, 0.00412, 0.00657, 0.70709, 0.70709, -0.00429, -0.00429),
        ),
    ),
    Boxes(
        (0.00211, 0.00621, 0.02497),
        ((0.04314, 0.00407, 0.00657, 0.00429, 0.00429, 0.70709, 0.70709),),
    ),
    Boxes(
        (0.00211, 0.00621, 0.01416),
        (
            (0.04657, 0.00403, 0.00657, 0.70709, 0.70709, -0.00431, -0.00431),
            (-0.04392, 0.00544, 0.00657, 0.70707, 0.70707, -0.00674, -0.00674),
        ),
    ),
    Boxes(
        (0.00211, 0.00621, 0.02497),
        ((-0.04049, 0.00537, 0.00657, 0.00673, 0.00673, 0.70707, 0.70707),),
    ),
    Boxes(
        (0.00296, 0.00621, 0.02939),
        ((-0.03585, 0.00528, 0.00657, 0.70707, -0.70707, 0.00674, -0.00674),),
    ),
    Boxes(
        (0.01214, 0.02432, 0.03454), ((0.00139, 0.01737, 0.0257, 0.00205, 0.00205, 0.7071, 0.7071),)
    ),
    Boxes(
        (0.00776, 0.01214, 0.02048), ((0.00118, -0.02003, 0.02439, 0.0, -0.70916, -0.70505, 0.0),)
    ),
    Boxes(
        (0.00776, 0.01214, 0.01739), ((0.00115, -0.02496, 0.02505, 0.0, -0.70505, 0.70916, 0.0),)
    ),
    Boxes(
        (0.00415, 0.01214, 0.01661), ((0.00108, -0.03643, 0.01715, 0.0, -0.70505, 0.70916, 0.0),)
    ),
)
