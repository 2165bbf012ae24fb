"""Lite assets are LIBERO's physics in other clothes: same model, same motion, own files."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.simulator.environment.environment import NO_OP, Environment
from mist_jax.simulator.libero.assets import Assets, find_assets
from mist_jax.simulator.libero.suites import load_task
from mist_jax.simulator.lite.assets import build_lite_assets, lite_asset_files
from mist_jax.simulator.lite.tools.mesh import box, cylinder, lathe, mesh_of_boxes
from mist_jax.simulator.lite.tools.mjcf import Boxes

# Height (m) of what the objects stand on.
SUPPORT = {"libero_spatial": 0.90, "libero_object": 0.0}
# One task of each runs always; the others differ in the choice and the places of the objects.
TASKS = [
    pytest.param(suite, task_id, marks=[pytest.mark.slow] if task_id else [])
    for suite in SUPPORT
    for task_id in range(10)
]


@pytest.fixture(scope="session")
def lite(tmp_path_factory) -> Assets:
    return Assets("lite", build_lite_assets(tmp_path_factory.mktemp("lite") / "assets"), "test")


@pytest.fixture(scope="session")
def real() -> Assets:
    try:
        return find_assets("libero", allow_download=False)
    except UserError as error:
        pytest.skip(f"compares with LIBERO's own assets: {error}")


def mesh_volume(mesh) -> float:
    """By the divergence theorem: right only if the surface is closed and its faces point out."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6)


def test_meshes_are_closed_and_face_outwards():
    segments = 64
    polygon_area = 0.5 * segments * np.sin(2 * np.pi / segments)
    assert mesh_volume(box((1, 2, 3))) == pytest.approx(48)
    assert mesh_volume(cylinder(2.0, 1.5, segments)) == pytest.approx(polygon_area * 4 * 3)
    cup = [(0, 0.5), (0.8, 0.5), (0.8, 1.0), (1.0, 1.0), (1.0, 0.0), (0, 0)]
    expected = polygon_area * (1.0 - 0.8**2 * 0.5)
    assert mesh_volume(lathe(cup, segments)) == pytest.approx(expected)
    turned = Boxes((1, 2, 3), ((5.0, -4.0, 3.0, 0.1, 0.2, -0.3, 0.4),))
    assert mesh_volume(mesh_of_boxes([turned])) == pytest.approx(48)


@pytest.mark.parametrize("mesh", [box((1, 2, 3)), cylinder(2.0, 1.5, 24)], ids=["box", "cylinder"])
def test_normals_agree_with_the_faces(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    of_face = np.cross(b - a, c - a)
    of_face /= np.linalg.norm(of_face, axis=1, keepdims=True)
    for corner in range(3):
        normals = mesh.normals[mesh.faces[:, corner]]
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
        assert np.min(np.sum(normals * of_face, axis=1)) > 0.9


def test_building_again_changes_nothing(tmp_path):
    folder = build_lite_assets(tmp_path / "assets")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert build_lite_assets(tmp_path / "assets") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_builders_at_the_same_time_leave_one_whole_folder(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(build_lite_assets, [tmp_path / "assets"] * 4))
    assert folders == {tmp_path / "assets"}
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]
    files = lite_asset_files()
    written = {path for path in (tmp_path / "assets").rglob("*") if path.is_file()}
    assert len(written) == len(files) + 1
    for path, content in files.items():
        assert (tmp_path / "assets" / path).read_bytes() == content


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds something else"):
        build_lite_assets(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_default_folder_is_in_the_cache_and_named_by_its_contents(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = build_lite_assets()
    assert first.parent == tmp_path / "mist_jax"
    files = lite_asset_files()
    changed = {**files, "scenes/libero_tabletop_base_style.xml": b"<mujoco/>"}
    monkeypatch.setattr("mist_jax.simulator.lite.assets.lite_asset_files", lambda: changed)
    assert build_lite_assets() != first


def test_no_file_is_one_of_liberos(real):
    theirs = {
        hashlib.sha256(path.read_bytes()).digest()
        for path in real.path.rglob("*")
        if path.is_file()
    }
    assert theirs.isdisjoint(
        hashlib.sha256(content).digest() for content in lite_asset_files().values()
    )


@pytest.mark.libero
@pytest.mark.parametrize(("suite", "task_id"), TASKS)
def test_objects_rest_in_every_initial_state_of_the_task(lite, suite, task_id):
    environment = Environment(load_task(suite, task_id), lite, render="none")
    for initial_state in (0, 17, 49):
        environment.reset(initial_state, seed=1, settle_steps=20)
        bodies = [
            environment.sim.model.body_name2id(
                environment.robosuite_env.objects_dict[name].root_body
            )
            for name in environment.robosuite_env.objects_dict
        ]
        before = environment.data.xpos[bodies].copy()
        for _ in range(10):
            assert not environment.step(NO_OP)
        after = environment.data.xpos[bodies]
        assert np.abs(after - before).max() < 1e-3
        assert after[:, 2].min() > SUPPORT[suite] - 0.005
    environment.close()


def physics(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Every array of the compiled model that can change what bodies do."""
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    looks = ("rgba", "matid", "dataid", "bvh", "plugin", "user")
    found: dict[str, np.ndarray] = {}
    for name in dir(model):
        kind = name.split("_")[0]
        value = getattr(model, name)
        if not isinstance(value, np.ndarray) or any(look in name for look in looks):
            continue
        if kind == "geom":
            found[name] = value[solid]
        elif kind in ("body", "jnt", "dof", "qpos0", "site", "actuator", "tendon", "exclude", "eq"):
            found[name] = value
    for option in ("timestep", "gravity", "integrator", "solver", "iterations", "cone", "impratio"):
        found[f"opt_{option}"] = np.array(getattr(model.opt, option))
    found["solid"] = solid
    return found


def names(model: mujoco.MjModel) -> list[str]:
    objects = mujoco.mjtObj
    return [
        mujoco.mj_id2name(model, kind, index)
        for kind, count in (
            (objects.mjOBJ_BODY, model.nbody),
            (objects.mjOBJ_JOINT, model.njnt),
            (objects.mjOBJ_GEOM, model.ngeom),
            (objects.mjOBJ_SITE, model.nsite),
            (objects.mjOBJ_CAMERA, model.ncam),
            (objects.mjOBJ_LIGHT, model.nlight),
        )
        for index in range(count)
    ]


def push_the_object(environment: Environment) -> list[np.ndarray]:
    """Actions [7] that bring the closing hand down on the object of the task."""
    environment.reset(3, seed=7)
    wanted = environment.parsed_problem["obj_of_interest"][0]
    actions = []
    for step in range(60):
        observation = environment.observe(render=False)
        position = observation.object_pose[wanted][:3]
        way = 3.2 * (position - observation.eef_pos + np.array([0.045, 0, 0.01])) / 0.05
        action = np.r_[way.clip(-1, 1), 0, 0, 0.2, 1.0 if step > 40 else -1.0]
        environment.step(action)
        actions.append(action)
    return actions


def hand_touches_something(environment: Environment) -> bool:
    model = environment.model
    of_hand = ["gripper" in environment.sim.model.body_id2name(body) for body in range(model.nbody)]
    pairs = np.array(of_hand)[model.geom_bodyid[environment.data.contact.geom]]
    return bool((pairs[:, 0] ^ pairs[:, 1]).any())


@pytest.mark.libero
@pytest.mark.parametrize(("suite", "task_id"), TASKS)
def test_model_and_motion_are_liberos(lite, real, suite, task_id):
    task = load_task(suite, task_id)
    ours = Environment(task, lite, render="none")
    theirs = Environment(task, real, render="none")
    assert (ours.model.nq, ours.model.nv) == (theirs.model.nq, theirs.model.nv)
    assert names(ours.model) == names(theirs.model)
    expected = physics(theirs.model)
    actual = physics(ours.model)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)

    actions = push_the_object(ours)
    states = []
    for environment in (ours, theirs):
        environment.reset(3, seed=7)
        touched = False
        states.append([])
        for action in actions:
            environment.step(action)
            touched |= hand_touches_something(environment)
            states[-1].append(np.r_[environment.data.qpos, environment.data.qvel])
        assert touched
    np.testing.assert_array_equal(states[0], states[1])
    ours.close()
    theirs.close()


def pixel_of(environment: Environment, position: np.ndarray, size: int) -> tuple[int, int]:
    """Row and column of a world position (m) in the agentview image as rendered (upside down)."""
    camera = environment.sim.model.camera_name2id("agentview")
    rotation = environment.data.cam_xmat[camera].reshape(3, 3)
    x, y, z = rotation.T @ (position - environment.data.cam_xpos[camera])
    focal = 0.5 * size / np.tan(np.deg2rad(environment.model.cam_fovy[camera]) / 2)
    return round(size / 2 + focal * y / -z), round(size / 2 + focal * x / -z)


@pytest.mark.libero
def test_agentview_shows_each_object_in_its_colour(lite):
    environment = Environment(load_task("libero_spatial", 0), lite, camera_res=256)
    environment.reset(0, seed=0)
    observation = environment.observe()
    image = observation.images["agentview"].astype(int)

    def colour(position) -> np.ndarray:
        row, column = pixel_of(environment, position, 256)
        return image[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))

    plate = observation.object_pose["plate_1"][:3]
    assert colour(plate).min() > 150
    red = colour(plate + np.array([0.063, 0, 0.014]))
    assert red[0] > 1.15 * red[2]
    bowl = observation.object_pose["akita_black_bowl_1"][:3]
    assert colour(bowl + np.array([0.043, 0, 0.02])).max() < 70
    front = environment.data.site("wooden_cabinet_1_top_side").xpos
    assert colour(front).max() < 70
    cookies = colour(observation.object_pose["cookies_1"][:3])
    assert cookies[0] > 1.2 * cookies[2]
    table = colour(np.array([0.25, 0.0, SUPPORT["libero_spatial"]]))
    assert 120 < table[2] < table[0]
    environment.close()
