"""Branches are run once each, whoever runs them, and a worker stays with its fork."""

import dataclasses
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mist_jax.counterfactual.branch import branches_of, fork_and_offset
from mist_jax.counterfactual.forks import forks_of
from mist_jax.counterfactual.offsets import OffsetSet
from mist_jax.counterfactual.source import BranchSource
from mist_jax.episodes.index import EpisodeEntry
from tests.helpers.synthetic_episodes import contact, episode

OFFSETS = OffsetSet(0.1)
MADE = episode([contact(60)])


def branches(forks: int):
    one = [
        fork
        for state in range(forks)
        for fork in forks_of(episode([contact(40)], state=state, task=state % 3), 1, seed=0)
    ]
    return tuple(branches_of(one, OFFSETS))


def entry(key) -> EpisodeEntry:
    return EpisodeEntry(key, "success", False, False, "", "")


def drive(source: BranchSource, order, workers: int, stop_after: int | None = None):
    """Runs as the loop does; what each worker ran, `order` says which of them ends next."""
    held = {}
    ran = {worker: [] for worker in range(workers)}
    ended = []
    idle = list(range(workers))
    while len(ended) != stop_after:
        while idle and (spec := source.draw(None)) is not None:
            # As the fleet: a worker that keeps the fork, if one is idle.
            keeps = [one for one in idle if ran[one] and ran[one][-1].fork == spec.fork]
            worker = (keeps or idle)[0]
            idle.remove(worker)
            held[worker] = spec
            ran[worker].append(spec)
        if not held:
            break
        worker = sorted(held)[order(len(held))]
        spec = held.pop(worker)
        source.settle(dataclasses.replace(MADE, key=spec.key))
        ended.append(spec.key)
        idle.append(worker)
    return ran, ended


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 40), st.randoms(use_true_random=False))
def test_every_branch_is_run_once_also_after_an_interruption(forks, workers, stop_after, random):
    wanted = branches(forks)
    _, first = drive(BranchSource(wanted), random.randrange, workers, stop_after)
    again = BranchSource(wanted)
    for key in first:
        again.recall(entry(key))
    again.recall(entry(dataclasses.replace(MADE.key, task_id=9)))
    assert again.missing == len(wanted) - len(first)
    _, rest = drive(again, random.randrange, workers)
    assert again.missing == 0
    assert sorted(first + rest) == sorted(branch.key for branch in wanted)


@settings(max_examples=30)
@given(st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_worker_goes_on_with_its_fork_while_there_are_forks_for_all(workers, random):
    wanted = branches(8)
    ran, _ = drive(BranchSource(wanted), random.randrange, workers)
    changes = sum(one.fork != two.fork for specs in ran.values() for one, two in pairwise(specs))
    # Each fork is begun once, and at the end others help: at most once per worker and fork left.
    assert changes + workers <= 8 + workers * (workers - 1) + workers
    if workers == 1:
        assert changes == 7


def test_a_worker_prefers_a_fork_of_the_task_that_it_has_loaded():
    wanted = branches(9)
    ran, _ = drive(BranchSource(wanted), lambda _: 0, 1)
    tasks = [fork_and_offset(spec.key)[0].task_id for spec in ran[0]]
    assert sum(one != two for one, two in pairwise(tasks)) == 2
