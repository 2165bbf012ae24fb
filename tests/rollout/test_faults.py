"""The fault runner: drivers and workers are killed at random, and no episode is lost or doubled.

Its table (MIST_FAULT_KILLS=18, pytest -s) stands in BUILD.md.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mist_jax.episodes.index import INDEX_FILE, read_index
from mist_jax.episodes.reader import load_episodes
from mist_jax.record.episode import Episode, EpisodeKey
from mist_jax.scratch import remove_dead
from tests.helpers.episode_samples import assert_equal
from tests.helpers.fault_driver import EPISODES, drive
from tests.helpers.rollout_samples import save_tiny_policy

KILLS = int(os.environ.get("MIST_FAULT_KILLS", "4"))  # of drivers, per kind of run
ROUND = 6  # of them at most into one folder
SECONDS = 240.0  # longer than any run, also on a busy machine


@dataclass
class Figures:
    """What the table says of one kind of run."""

    driver: Counter[str] = field(default_factory=Counter)  # where its kills fell
    workers: int = 0
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    unequal: int = 0


@dataclass
class Runner:
    """Starts, kills and compares the runs of one kind, into folders of its own."""

    kind: str
    root: Path
    rng: random.Random
    figures: Figures = field(default_factory=Figures)

    def __post_init__(self):
        self.context = multiprocessing.get_context("forkserver")
        # Imported once: what is killed is a run, not the import of its libraries.
        self.context.set_forkserver_preload(["tests.helpers.fault_driver"])
        self.temporary = Path(tempfile.mkdtemp(prefix="f"))  # short, for Ray's sockets
        (self.root / "starts").mkdir()
        save_tiny_policy(self.root / "policy")

    def start(self, output: Path):
        self.figures.runs += 1
        places = (self.root / "policy", self.root / "starts", output, self.temporary)
        process = self.context.Process(target=drive, args=(self.kind, *places))
        process.start()
        return process

    def finish(self, output: Path) -> None:
        process = self.start(output)
        process.join(SECONDS)
        assert process.exitcode == 0, output.with_suffix(".log").read_text()[-3000:]

    def kill_once(self, output: Path) -> bool:
        """Starts a run and kills it at a random moment; whether it was alive until then."""
        before, process = stored(output), self.start(output)
        begun = len(before)
        moment = self.rng.choice(("early", "writing", "writing", "stored", "stored", "worker"))
        end = time.monotonic() + SECONDS

        def wait_for(reached) -> None:
            while process.is_alive() and not reached() and time.monotonic() < end:
                time.sleep(0.0005)

        more = begun + self.rng.randrange(4)
        if moment == "early":
            time.sleep(self.rng.uniform(0.0, 6.0))
        elif moment == "writing":
            wait_for(lambda: count(output) >= more and unfinished(output))
        else:
            wait_for(lambda: count(output) >= more and (more > begun or self.newest_worker()))
            if moment == "worker" and process.is_alive():
                self.kill_a_worker()
                wait_for(lambda: count(output) > more)
            time.sleep(self.rng.uniform(0.0, 0.05))
        alive = process.is_alive()
        process.kill()
        process.join()
        after = stored(output)
        assert before.items() <= after.items(), "an episode that was stored is gone or was run anew"
        if alive:
            self.figures.driver[where(output, begun)] += 1
        return alive

    def newest_worker(self) -> int | None:
        files = sorted((self.root / "starts").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        pids = files[-1].read_text().split() if files else []
        return int(pids[-1]) if pids and Path(f"/proc/{pids[-1]}").exists() else None

    def kill_a_worker(self) -> None:
        pid = self.newest_worker()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.figures.workers += 1

    def compare(self, output: Path, expected: dict[EpisodeKey, Episode]) -> None:
        lines = (output / INDEX_FILE).read_text().splitlines()
        keys = [json.dumps(json.loads(line)["key"]) for line in lines]
        self.figures.doubled += len(keys) - len(set(keys))
        found = {episode.key: timeless(episode) for episode in load_episodes(output)}
        self.figures.lost += len(expected.keys() - found.keys())
        self.figures.unequal += len(found.keys() - expected.keys())
        for key in expected.keys() & found.keys():
            try:
                assert_equal(found[key], expected[key])
            except AssertionError:
                self.figures.unequal += 1

    def disturb(self, output: Path, kills: int, expected: dict[EpisodeKey, Episode]) -> None:
        for _ in range(kills):
            if not self.kill_once(output):
                break
        self.finish(output)
        self.compare(output, expected)
        assert not list(output.rglob("*.partial"))

    def left_behind(self) -> tuple[list[str], list[str]]:
        """Temporary folders, and processes that still run in one after a while."""
        end = time.monotonic() + 60
        while (alive := running_in(self.temporary)) and time.monotonic() < end:
            time.sleep(0.5)
        remove_dead(self.temporary)  # as the next run would
        return [path.name for path in self.temporary.glob("mist_*")], alive


def count(output: Path) -> int:
    """Episodes that count, read as a bystander may read them at any time."""
    try:
        split = json.loads((output / "dataset_info.json").read_text())["splits"][0]
    except FileNotFoundError:
        return 0
    return sum(map(int, split.get("shardLengths", ())))


def unfinished(output: Path) -> bool:
    """Whether a write is under way (or was, in a dead run): there are files that do not count."""
    if list(output.glob("*.partial")):
        return True
    if not (output / "dataset.json").exists():
        return False
    lines = (output / INDEX_FILE).read_bytes().count(b"\n") if (output / INDEX_FILE).exists() else 0
    split = json.loads((output / "dataset_info.json").read_text())["splits"][0]
    shards = len(list(output.glob("*.array_record")))
    return lines > sum(map(int, split["shardLengths"])) or shards != len(split["shardLengths"])


def where(output: Path, begun: int) -> str:
    """Where a kill fell, from what it left."""
    if not (output / "dataset.json").exists():
        return "before the dataset was there"
    if unfinished(output):
        return "inside a write"
    return "between two episodes" if count(output) > begun else "before the run stored one"


def stored(output: Path) -> dict[EpisodeKey, tuple[str, str]]:
    """Checksum and time of every episode."""
    if not (output / "dataset.json").exists():
        return {}
    return {entry.key: (entry.sha256, entry.stored) for entry in read_index(output)}


def timeless(episode: Episode) -> Episode:
    """Without what a clock has measured."""
    queries = dataclasses.replace(episode.queries, latency=None)
    return dataclasses.replace(episode, queries=queries)


def running_in(folder: Path) -> list[str]:
    """Command lines of the living processes that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(folder) in line:
                found.append(line[:200])
    return found


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", ["collection", "evaluation"])
def test_random_kills_of_driver_and_workers_lose_and_double_nothing(tmp_path: Path, kind: str):
    seed = random.randrange(2**32)  # another one each time; printed, so that it can be used again
    runner = Runner(kind, tmp_path, random.Random(seed))
    began = time.monotonic()
    try:
        runner.finish(tmp_path / "undisturbed")
        expected = {e.key: timeless(e) for e in load_episodes(tmp_path / "undisturbed")}
        assert len(expected) == EPISODES
        folder = 0
        while sum(runner.figures.driver.values()) < KILLS:
            folder += 1
            left = KILLS - sum(runner.figures.driver.values())
            runner.disturb(tmp_path / f"round{folder}", min(left, ROUND), expected)
        folders, processes = runner.left_behind()
    finally:
        shutil.rmtree(runner.temporary, ignore_errors=True)
    figures = runner.figures
    print(f"\n{kind}, seed {seed}: {figures.runs} runs in {time.monotonic() - began:.0f} s")
    for place, times in sorted(figures.driver.items()):
        print(f"  driver killed {place:30} {times:3}")
    print(f"  workers killed {figures.workers:39}")
    print(f"  lost {figures.lost}, doubled {figures.doubled}, unequal {figures.unequal}")
    assert (figures.lost, figures.doubled, figures.unequal) == (0, 0, 0)
    assert sum(figures.driver.values()) >= KILLS
    assert (folders, processes) == ([], [])
