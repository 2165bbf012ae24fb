"""SafeLIBERO's obstacles, as objects that LIBERO's problems can hold."""

import math
from typing import Any

from mist_jax.errors import UserError
from mist_jax.simulator.safelibero.folder import (
    VARIABLE,
    objects_of,
    obstacle_file,
    safelibero_folder,
    task_files,
    task_names,
)

_DAMPING = "0.0005"  # of the free joint, as all of LIBERO's objects have it


def register_obstacles(suite: str, level: str) -> None:
    """Makes LIBERO know the obstacles of the user's folder; LIBERO must have been imported.

    Raises:
      UserError: a task of the suite names an object that neither has.
    """
    from libero.libero.envs.base_object import OBJECTS_DICT

    for path in sorted((safelibero_folder() / "assets" / "obstacle_objects").glob("*/*.xml")):
        category = path.stem
        if category == path.parent.name and category not in OBJECTS_DICT:
            OBJECTS_DICT[category] = _obstacle_class(category)
    for name in task_names(suite, level):
        for category in objects_of(task_files(suite, level, name)[0]):
            if category not in OBJECTS_DICT:
                raise UserError(
                    f"{suite}: neither LIBERO nor {VARIABLE} has the object {category} of {name}"
                )


def _obstacle_class(category: str) -> type:
    from robosuite.models.objects import MujocoXMLObject

    class SafeLiberoObstacle(MujocoXMLObject):
        def __init__(self, name: str = category, obj_name: str = category):
            free: Any = [{"type": "free", "damping": _DAMPING}]
            super().__init__(
                str(obstacle_file(obj_name)),
                name=name,
                joints=free,
                obj_type="all",
                duplicate_collision_geoms=False,
            )
            # What LIBERO asks of an object besides; it stands turned up, as LIBERO's own do.
            self.category_name = category
            self.rotation = (math.pi / 2, math.pi / 2)
            self.rotation_axis = "x"
            self.object_properties = {"vis_site_names": {}}

    return SafeLiberoObstacle
