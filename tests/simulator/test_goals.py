"""What the BDDL goals ask for, against a reading of the tasks by a person."""

import numpy as np
import pytest

from mist_jax.simulator.contacts.bodies import scene_bodies
from mist_jax.simulator.contacts.goals import read_intent
from mist_jax.simulator.environment.environment import Environment
from mist_jax.simulator.libero.assets import find_assets
from mist_jax.simulator.libero.suite import Predicates
from mist_jax.simulator.libero.suites import find_suite, load_suite, load_task

pytestmark = pytest.mark.libero

ASSETS = find_assets("auto", allow_download=False)


def build(task) -> Environment:
    if ASSETS.kind == "lite" and "lite" not in find_suite(task.suite).asset_kinds:
        pytest.skip(f"the lite assets do not hold {task.suite}: set MIST_LIBERO_ASSETS")
    return Environment(task, ASSETS, render="none")


STOVE = {"flat_stove_1_main", "flat_stove_1_base", "flat_stove_1_burner"}
STOVE |= {"flat_stove_1_burner_plate"}
KNOB, DOOR = {"flat_stove_1_button"}, {"microwave_1_microdoorroot"}
TOP_DRAWER = {"wooden_cabinet_1_cabinet_top"}
MIDDLE_DRAWER = {"wooden_cabinet_1_cabinet_middle"}
WHITE_DRAWER = {"white_cabinet_1_cabinet_bottom"}
MUG = {"white_yellow_mug_1_main"}
BOWL, PLATE = {"akita_black_bowl_1_main"}, {"plate_1_main"}

# suite, words of the task's name; what to move; places of the first object; parts to operate.
TASKS = [
    ("libero_spatial", "between_the_plate", BOWL, PLATE | {"table"}, set()),
    ("libero_spatial", "in_the_top_drawer", BOWL, PLATE | TOP_DRAWER, set()),
    ("libero_spatial", "on_the_cookie_box", BOWL, PLATE | {"cookies_1_main"}, set()),
    ("libero_spatial", "on_the_stove", BOWL, PLATE | STOVE, set()),
    ("libero_object", "alphabet_soup", {"alphabet_soup_1_main"}, {"floor", "basket_1_main"}, set()),
    ("libero_goal", "open_the_middle_drawer", set(), {"table"}, MIDDLE_DRAWER),
    ("libero_goal", "turn_on_the_stove", set(), {"table"}, KNOB),
    ("libero_goal", "open_the_top_drawer_and", BOWL, TOP_DRAWER | {"table"}, TOP_DRAWER),
    ("libero_goal", "put_the_bowl_on_the_stove", BOWL, STOVE | {"table"}, set()),
    ("libero_goal", "push_the_plate", PLATE, {"table"}, set()),
    ("libero_10", "SCENE4", BOWL, WHITE_DRAWER | {"table"}, WHITE_DRAWER),
    ("libero_10", "KITCHEN_SCENE6", MUG, {"table", "microwave_1_main"}, DOOR),
    ("libero_10", "SCENE8", {"moka_pot_1_main", "moka_pot_2_main"}, STOVE | {"table"}, KNOB),
    ("libero_90", "SCENE8_turn_off", set(), {"table"}, KNOB),
]


@pytest.mark.parametrize(
    ("suite", "words", "to_move", "places", "operate"), TASKS, ids=[t[1] for t in TASKS]
)
def test_intent_is_what_the_task_says(suite, words, to_move, places, operate):
    (task,) = (task for task in load_suite(suite) if words in task.name)
    environment = build(task)
    bodies = scene_bodies(environment)
    intent = read_intent(environment.model, bodies, environment.parsed_problem)

    def names(ids):
        return {bodies.body_names[body] for body in ids}

    assert names(intent.to_move) == to_move
    first = np.flatnonzero(np.isin(bodies.object_body, list(intent.to_move)))
    assert names(intent.places[first[0] if len(first) else 0]) == places
    assert names(intent.operate) == operate


def test_what_is_not_understood_is_refused():
    environment = build(load_task("libero_spatial", 0))
    bodies = scene_bodies(environment)
    for goal in (["stack", "akita_black_bowl_1", "plate_1"], ["on", "akita_black_bowl_1", "moon"]):
        problem = {**environment.parsed_problem, "goal_state": [goal]}
        with pytest.raises(ValueError, match=r"stack|moon"):
            read_intent(environment.model, bodies, problem)


def test_a_suite_says_which_of_its_own_words_place_and_which_operate():
    environment = build(load_task("libero_spatial", 0))
    bodies = scene_bodies(environment)
    goals = [["stack", "akita_black_bowl_1", "plate_1"], ["twist", "flat_stove_1"]]
    problem = {**environment.parsed_problem, "goal_state": goals}
    words = Predicates(places=("on", "stack"), operates=("twist",))
    intent = read_intent(environment.model, bodies, problem, words)
    assert {bodies.body_names[body] for body in intent.to_move} == BOWL
    assert {bodies.body_names[body] for body in intent.operate} == KNOB


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["libero_spatial", "libero_object", "libero_goal", "libero_10"])
def test_every_resting_object_rests_on_a_place_of_its_own(suite):
    """An oracle for supports: the contacts that MuJoCo finds once the scene has settled."""
    for task in load_suite(suite):
        environment = build(task)
        bodies = scene_bodies(environment)
        intent = read_intent(environment.model, bodies, environment.parsed_problem)
        environment.reset(0, seed=0)
        contact = environment.data.contact
        for index in range(len(bodies.object_names)):
            mine = bodies.geom_object[contact.geom] == index
            others = contact.geom[mine.any(axis=1)][~mine[mine.any(axis=1)]]
            under = {int(body) for body in bodies.geom_body[others]}
            assert under & intent.places[index], (task.name, bodies.object_names[index])
        environment.close()
