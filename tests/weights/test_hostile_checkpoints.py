"""Whatever a `.pt` file says: tensors or one clear line; never a crash, a wait or a full memory."""

import io
import itertools
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mist_jax.errors import UserError
from mist_jax.weights.published_files import read_json
from mist_jax.weights.torch_pickle import read_torch_file

DATA = np.arange(6, dtype=np.float32).tobytes()
GOOD = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()


def write(path: Path, pickled: bytes, data: bytes = DATA, **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/data/0", data)
    return path


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(*values: int) -> bytes:
    return (
        b"(" + b"".join(b"J" + value.to_bytes(4, "little", signed=True) for value in values) + b"t"
    )


def tensor(offset=0, shape=(2, 3), strides=(3, 1), length=6, member="0", after=b"") -> bytes:
    """A dictionary of one tensor, with instructions `after` the tensor was made."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(member) + text("cpu")
    storage += numbers(length)[1:-1] + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers(offset)[1:-1]
    made += numbers(*shape) + numbers(*strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + text("a") + made + after + b"s."


def read_all(path: Path) -> dict[str, np.ndarray]:
    return {name: np.array(one.read()) for name, one in read_torch_file(path).items()}


def test_the_forged_files_here_are_read_where_they_are_honest(tmp_path):
    read = read_all(write(tmp_path / "x.pt", tensor()))
    np.testing.assert_array_equal(read["a"], np.arange(6, dtype=np.float32).reshape(2, 3))


def test_a_state_dict_with_its_metadata_is_still_read(tmp_path):
    assert hasattr(GOOD, "_metadata")  # pickled as BUILD of an OrderedDict
    torch.save(GOOD, tmp_path / "x.pt")
    read = read_all(tmp_path / "x.pt")
    assert list(read) == list(GOOD)
    for name, value in GOOD.items():
        np.testing.assert_array_equal(read[name], value.numpy())


@pytest.mark.parametrize(
    "state",
    [
        {"shape": (10**9,), "strides": (10**6,), "offset": 10**12},
        {"file": "/dev/zero"},
        (None, {"shape": (10**9,)}),
    ],
)
def test_a_tensor_cannot_be_rebuilt_after_it_was_checked(tmp_path, state):
    after = pickle.dumps(state, 2)[2:-1] + b"b"
    with pytest.raises(UserError, match="something other than tensors"):
        read_all(write(tmp_path / "x.pt", tensor(after=after)))


@pytest.mark.parametrize(
    "changed",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (2, 4)},
        {"shape": (-2, -3)},
        {"strides": (300, 1)},
        {"strides": (-3, 1)},
        {"shape": (2_000_000_000, 2_000_000_000), "strides": (0, 0)},
        {"shape": (2, 3, 1)},
        {"length": 5},
        {"length": -1},
        {"length": 2**30, "shape": (2**30,), "strides": (1,)},
        {"member": "9"},
        {"member": "../../../etc/passwd"},
        {"shape": (1,) * 40, "strides": (1,) * 40},
    ],
)
def test_a_tensor_that_its_bytes_do_not_hold_is_refused(tmp_path, changed):
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        read_all(write(tmp_path / "x.pt", tensor(**changed)))


def test_other_functions_are_never_called(tmp_path):
    for name in ("os\nsystem", "builtins\neval", "mist_jax.weights\nconvert", "torch\nload"):
        pickled = b"\x80\x02c" + name.encode() + b"\n(" + text("touch pwned") + b"tR."
        with pytest.raises(UserError, match="is not a tensor"):
            read_all(write(tmp_path / "x.pt", pickled))


def test_shared_tuples_cost_no_time(tmp_path):
    doubled = b"\x80\x02}" + numbers(1, 2) + b"q\x00" + b"h\x00\x86q\x00h\x00" * 80 + b"Ks."
    pair = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(80))
    for body in (doubled, b"\x80\x02}" + numbers(1, 2) + b"q\x00" + pair + b"K\x01s."):
        with pytest.raises(UserError):
            read_all(write(tmp_path / "x.pt", body))


def test_a_memo_place_of_four_billion_takes_no_memory(tmp_path):
    pickled = b"\x80\x02}r\xff\xff\xff\xff" + tensor()[3:]
    assert list(read_all(write(tmp_path / "x.pt", pickled))) == ["a"]


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    bomb = write(tmp_path / "x.pt", tensor(), bytes(1 << 26), compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="compressed"):
        read_all(bomb)


def test_a_declared_length_beyond_the_file_takes_no_memory(tmp_path):
    content = bytearray(write(tmp_path / "x.pt", tensor()).read_bytes())
    at = content.rfind(b"PK\x01\x02")  # the last member's entry in the directory
    for place in (at + 20, at + 24):
        content[place : place + 4] = (3 << 30).to_bytes(4, "little")
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(UserError, match="larger than the file"):
        read_all(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "x.pt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for read in (read_torch_file, read_json):
        with pytest.raises(UserError, match="not a regular file"):
            read(path)


def _operations() -> list[bytes]:
    buffer = io.BytesIO()
    torch.save(OrderedDict(GOOD), buffer)
    with zipfile.ZipFile(buffer) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
    places = [place for _, _, place in pickletools.genops(pickled)] + [len(pickled)]
    return [pickled[a:b] for a, b in itertools.pairwise(places)]


OPERATIONS = _operations()
EXTRA = [bytes([code.code.encode("latin1")[0]]) for code in pickletools.opcodes]


def assert_tensors_or_one_line(path):
    said, read = "one line", {}
    try:
        read = read_all(path)
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert all(isinstance(value, np.ndarray) for value in read.values())


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_pickles_give_tensors_or_one_line(tmp_path, data):
    operations = list(OPERATIONS)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(operations) - 1))
        how = data.draw(st.sampled_from(["drop", "double", "swap", "insert", "bytes"]))
        other = data.draw(st.integers(0, len(operations) - 1))
        if how == "drop" and len(operations) > 1:
            del operations[place]
        elif how == "double":
            operations.insert(place, operations[place])
        elif how == "swap":
            operations[place], operations[other] = operations[other], operations[place]
        elif how == "insert":
            operations.insert(place, data.draw(st.sampled_from(EXTRA)))
        else:
            operations[place] = data.draw(st.binary(max_size=8))
    assert_tensors_or_one_line(write(tmp_path / "x.pt", b"".join(operations)))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_archives_give_tensors_or_one_line(tmp_path, data):
    content = bytearray(write(tmp_path / "x.pt", tensor()).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    (tmp_path / "x.pt").write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    assert_tensors_or_one_line(tmp_path / "x.pt")
