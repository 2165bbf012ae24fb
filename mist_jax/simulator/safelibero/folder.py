"""Where SafeLIBERO's files are, and which task is in which.

SafeLIBERO (Hu et al. 2025, arXiv 2512.11891) is published as a copy of LIBERO in the repository
THU-RCSCT/vlsa-aegis. What is needed of it lies below `safelibero/libero/libero`: `bddl_files`,
`init_files` and `assets/obstacle_objects`. Scenes and all other things are LIBERO's.
"""

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mist_jax.errors import UserError

VARIABLE = "MIST_SAFELIBERO"
LEVELS = ("I", "II")  # the obstacle is near the object, or farther and in the way
_BELOW = ("", "libero/libero", "safelibero/libero/libero")
_BOWL, _PLATE = "pick_up_the_black_bowl", "and_place_it_on_the_plate"
_LIVING_ROOM = "LIVING_ROOM_SCENE"
# By suite; safelibero_goal has another fourth task at level II.
_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "safelibero_spatial": (
            f"{_BOWL}_between_the_plate_and_the_ramekin_{_PLATE}",
            f"{_BOWL}_on_the_ramekin_{_PLATE}",
            f"{_BOWL}_on_the_stove_{_PLATE}",
            f"{_BOWL}_on_the_wooden_cabinet_{_PLATE}",
        ),
        "safelibero_object": tuple(
            f"pick_up_the_{thing}_and_place_it_in_the_basket"
            for thing in ("orange_juice", "chocolate_pudding", "milk", "bbq_sauce")
        ),
        "safelibero_goal": (
            "put_the_bowl_on_the_plate",
            "put_the_bowl_on_top_of_the_cabinet",
            "put_the_bowl_on_the_stove",
            "open_the_top_drawer_and_put_the_bowl_inside",
        ),
        "safelibero_long": (
            f"{_LIVING_ROOM}1_put_both_the_alphabet_soup_and_the_cream_cheese_box_in_the_basket",
            f"{_LIVING_ROOM}2_put_both_the_alphabet_soup_and_the_tomato_sauce_in_the_basket",
            f"{_LIVING_ROOM}5_put_the_white_mug_on_the_left_plate_and_put_the_yellow_and_white_mug"
            "_on_the_right_plate",
            f"{_LIVING_ROOM}6_put_the_white_mug_on_the_plate_and_put_the_chocolate_pudding_to_the"
            "_right_of_the_plate",
        ),
    }
)
SUITES = tuple(_TASKS)


def task_names(suite: str, level: str) -> tuple[str, ...]:
    """The names of a suite's four tasks at a level, in SafeLIBERO's order."""
    if (suite, level) == ("safelibero_goal", "II"):
        return (*_TASKS[suite][:3], "put_the_cream_cheese_in_the_bowl")
    return _TASKS[suite]


def safelibero_folder() -> Path:
    """The folder that holds `bddl_files`, `init_files` and `assets`.

    Raises:
      UserError: MIST_SAFELIBERO names no folder of SafeLIBERO, or is not set.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise UserError(
            "SafeLIBERO's files are not on this machine, as far as is known: clone "
            f"THU-RCSCT/vlsa-aegis and set {VARIABLE} to its folder"
        )
    root = Path(named).expanduser().absolute()
    for below in _BELOW:
        if (root / below / "bddl_files").is_dir():
            return root / below
    raise UserError(
        f"{VARIABLE}={named}: no bddl_files there, nor below libero/libero or "
        "safelibero/libero/libero in it: name a clone of THU-RCSCT/vlsa-aegis"
    )


def task_files(suite: str, level: str, name: str) -> tuple[Path, Path]:
    """A task's BDDL file and initial states at a level.

    Raises:
      UserError: one of them, or an obstacle that the BDDL file names, is missing.
    """
    folder = safelibero_folder()
    bddl = folder / "bddl_files" / suite / f"{name}.bddl"
    states = folder / "init_files" / suite / f"{name}_level_{level}.pruned_init"
    needed = [bddl, states]
    if bddl.is_file():
        needed += [
            obstacle_file(category)
            for category in objects_of(bddl)
            if category.endswith("_obstacle")
        ]
    for path in needed:
        if not path.is_file():
            missing = path.relative_to(folder)
            raise UserError(f"{suite} at level {level}: {VARIABLE} lacks {missing} (in {folder})")
    return bddl, states


def obstacle_file(category: str) -> Path:
    """The MJCF file of an obstacle, there or not."""
    return safelibero_folder() / "assets" / "obstacle_objects" / category / f"{category}.xml"


def objects_of(bddl: Path) -> tuple[str, ...]:
    """The categories of the objects of a BDDL file, each once, as they come."""
    text = re.sub(r";.*", "", bddl.read_text(encoding="utf-8"))
    found = re.search(r"\(:objects(.*?)\)", text, re.DOTALL)
    words = found.group(1).split() if found else []
    return tuple(dict.fromkeys(b for a, b in itertools.pairwise(words) if a == "-"))
