"""What a run leaves: no temporary folder of the dead, and no port that others can reach."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mist_jax.scratch import Scratch, remove_dead

ROOT = Path(__file__).parents[2]
OWNER = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from mist_jax.scratch import Scratch
print(Scratch().path, flush=True)
time.sleep(600)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def owner_in(folder: Path) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_next_run_removes_the_folder_of_a_killed_one_and_no_living_ones(temporary: Path):
    killed, dead = owner_in(temporary)
    living, alive = owner_in(temporary)
    try:
        (dead / "session").mkdir()
        (dead / "session" / "big").write_bytes(bytes(1000))
        assert f"process {killed.pid}, started " in (dead / "owner").read_text()
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert dead.is_dir()
        own = Scratch()
        assert not dead.exists()
        assert alive.is_dir()
        remove_dead(temporary)
        assert own.path.is_dir()
        own.remove()
        assert [path.name for path in temporary.iterdir()] == [alive.name]
    finally:
        living.kill()
        living.wait()


def test_a_folder_that_a_dying_process_still_fills_is_removed_by_a_later_run(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    killed, dead = owner_in(temporary)
    (dead / "session").mkdir()
    killed.kill()
    killed.wait()
    with monkeypatch.context() as patch:
        # What is written while the folder is emptied keeps its place.
        patch.setattr("mist_jax.scratch.shutil.rmtree", lambda *_, **__: None)
        remove_dead(temporary)
    assert (dead / "owner").is_file()
    remove_dead(temporary)
    assert not dead.exists()


def test_a_folder_that_processes_of_a_dead_owner_still_use_stays_until_they_have_ended(
    temporary: Path,
):
    killed, dead = owner_in(temporary)
    user = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={**os.environ, "TMPDIR": str(dead)},
    )
    try:
        killed.kill()
        killed.wait()
        remove_dead(temporary)
        assert dead.is_dir()
    finally:
        user.kill()
        user.wait()
    remove_dead(temporary)
    assert not dead.exists()


def test_folders_that_are_not_of_this_program_or_user_stay(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    (temporary / "mist_of_somebody").mkdir()
    (temporary / "mist_file").write_text("")
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "owner").write_text("")
    (temporary / "mist_link").symlink_to(temporary / "elsewhere")
    another = temporary / "mist_another"
    another.mkdir()
    (another / "owner").write_text("")
    with monkeypatch.context() as patch:
        patch.setattr("mist_jax.scratch.os.getuid", lambda: 12345)
        remove_dead(temporary)
    assert another.is_dir()
    remove_dead(temporary)
    kept = {"mist_of_somebody", "mist_file", "elsewhere", "mist_link"}
    assert {path.name for path in temporary.iterdir()} == kept


FLEET = """
import sys
from mist_jax.rollout.episode_spec import WorkerConfig
from mist_jax.rollout.fleet import Fleet

class Idle:
    def __init__(self, config): pass
    def ready(self): return True

with Fleet(WorkerConfig(assets="lite", model=""), 1, worker_class=Idle):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def listening() -> dict[str, str]:
    """Inode -> local address, in the kernel's hexadecimal, of every listening socket."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                found[columns[9]] = columns[1].split(":")[0]
    return found


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def addresses_of(pids: list[int]) -> set[str]:
    sockets, found = listening(), set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(sockets.get(target[8:-1], ""))
    return found - {""}


# 127.0.0.1, ::1, and 127.0.0.1 as an address of version 6.
LOOPBACK = {
    "0100007F",
    "00000000000000000000000001000000",
    "0000000000000000FFFF00000100007F",
}


@pytest.mark.slow
def test_ray_here_listens_on_loopback_alone_and_leaves_no_folder():
    temporary = Path(tempfile.mkdtemp())  # Ray's sockets want a short path
    process = subprocess.Popen(
        [sys.executable, "-c", FLEET],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(2.0)  # Ray's agents come up after its workers
        found = addresses_of(family(process.pid))
        assert found
        assert found <= LOOPBACK
        assert list(temporary.glob("mist_*"))
        process.communicate("\n", timeout=60)
        assert list(temporary.glob("mist_*")) == []
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)
