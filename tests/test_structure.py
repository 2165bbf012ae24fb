"""The shape of the code: rooms import one way only, in the order that the README tells."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mist_jax"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")
}


def room_of(path: Path) -> str:
    """`simulator.contacts` for a file in that folder; a top file is a room of its own."""
    inside = path.relative_to(PACKAGE)
    return ".".join(inside.parts[:-1]) or inside.stem


def imported_files(path: Path) -> set[Path]:
    """Files of the package that `path` imports, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                target = FILES.get(f"{node.module}.{name.name}") or FILES.get(node.module)
                found |= {target} if target else set()
        elif isinstance(node, ast.Import):
            found |= {FILES[name.name] for name in node.names if name.name in FILES}
    return found


def graph_of(rooms_too: bool) -> dict[str, set[str]]:
    """What every room (or file) imports; the package's own front door imports everything."""
    edges: dict[str, set[str]] = {}
    for path in FILES.values():
        targets = imported_files(path) - {PACKAGE / "__init__.py"}
        if path == PACKAGE / "__init__.py" or (path.name == "__init__.py" and not targets):
            continue
        name = room_of(path) if rooms_too else str(path.relative_to(ROOT))
        of = room_of if rooms_too else (lambda target: str(target.relative_to(ROOT)))
        edges.setdefault(name, set()).update({of(target) for target in targets} - {name})
    return edges


def readme_order() -> list[str]:
    _, _, text = (ROOT / "README.md").read_text().partition("## Where things are")
    return re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("rooms_too", [True, False], ids=["rooms", "files"])
def test_no_room_and_no_file_is_part_of_a_circle_of_imports(rooms_too: bool):
    try:
        TopologicalSorter(graph_of(rooms_too)).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_rooms_import_in_the_readmes_order_only():
    order = readme_order()
    parts = {f"simulator.lite.{part}" for part in ("parts", "tools")}  # told with simulator.lite
    top = {path.stem for path in PACKAGE.glob("*.py")} - set(order) - {"__init__"}
    rooms = graph_of(rooms_too=True)
    assert set(rooms) - parts - top <= set(order)
    assert len(order) > 15
    for room, imports in rooms.items():
        if room in parts or room in top:
            continue
        later = [other for other in imports & set(order) if order.index(other) > order.index(room)]
        assert not later, f"{room} imports {later}, which the README puts below it"


def test_top_files_import_nothing_of_the_rooms():
    top = {path.stem for path in PACKAGE.glob("*.py")} - set(readme_order()) - {"__init__"}
    rooms = graph_of(rooms_too=True)
    for name in top:
        assert rooms.get(name, set()) <= top, f"{name} imports {rooms[name] - top}"


def test_no_two_classes_share_a_name():
    places: dict[str, list[str]] = {}
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def test_one_place_compiles_the_policy_and_only_its_own_room_names_the_architecture():
    """Conversion and behaviour cloning are written for OpenVLA-OFT; all else goes by the seam."""
    allowed = ("policy/openvla_oft/", "weights/", "training/")
    for path in FILES.values():
        inside = str(path.relative_to(PACKAGE))
        if not inside.startswith(allowed):
            assert "OpenVLAOFTConfig" not in path.read_text(), inside
    compiling = {
        str(path.relative_to(PACKAGE))
        for path in (PACKAGE / "policy").rglob("*.py")
        if "jax.jit" in path.read_text()
    }
    assert compiling == {
        "policy/forward.py",
        "policy/openvla_oft/network/layers.py",  # within: blocks of one form are traced once
        "policy/openvla_oft/network/laid_out.py",  # parameters, when they are loaded
        "policy/openvla_oft/network/float8.py",  # likewise
    }
