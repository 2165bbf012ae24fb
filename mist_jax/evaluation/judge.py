"""From stored episodes to results: the same episodes can be judged again in another way."""

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from mist_jax.action_units import from_units
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.index import read_index
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.evaluation.results import EpisodeResult, HarmfulContact, QueryTrace
from mist_jax.evaluation.run_setup import RunSetup
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode
from mist_jax.record.obstacle import obstacle_motion
from mist_jax.record.queries import Queries
from mist_jax.risk.labels import driven_events
from mist_jax.rollout.sinks.video import video_name


def judge(directory: Path | str, **otherwise: Any) -> list[EpisodeResult]:
    """The results of a dataset's episodes, oldest first.

    Args:
        directory: of an evaluation, or of a collection (whose only arm is `none`).
        otherwise: fields of `RunSetup` that judge and do not act (threshold, horizon, share,
            equivalence_margin), in place of the stored ones.

    Raises:
        UserError: there is no dataset, it holds no episode, or it is damaged.
    """
    directory = Path(directory)
    setup = dataclasses.replace(RunSetup.of(load_info(directory)), **otherwise)
    entries = read_index(directory)
    if not entries:
        raise UserError(f"{directory} holds no episode yet; run the evaluation first")
    results = []
    for entry, episode in zip(entries, read_episodes(directory), strict=True):
        video = video_name(episode.key)
        drawn = video if (directory / video).is_file() else None
        results.append(result_of(episode, setup, stored=entry.stored, video=drawn))
    return results


def result_of(
    episode: Episode,
    setup: RunSetup,
    *,
    stored: str = "",
    video: str | None = None,
) -> EpisodeResult:
    """What is known of one episode."""
    key, contacts = episode.key, harmful_contacts(episode.contacts)
    latency = episode.queries.latency
    return EpisodeResult(
        suite=key.suite,
        task_id=key.task_id,
        initial_state=key.initial_state,
        seed=key.seed,
        arm=key.arm,
        instruction=episode.instruction,
        outcome=episode.outcome,
        error=episode.error,
        steps=len(episode.steps),
        max_steps=episode.max_steps,
        harmful_contacts=len(contacts),
        peak_force=max((contact.peak_force for contact in contacts), default=0.0),
        impulse=sum(contact.impulse for contact in contacts),
        first_harmful_step=min((contact.step for contact in contacts), default=None),
        contacts=contacts,
        events=driven_events(episode, setup.share),
        queries=_trace(episode, setup),
        seconds_per_query=None
        if latency is None or not len(latency)
        else float(np.median(latency)),
        seen_in_training=setup.seen_in_training(key, episode.instruction),
        video=video,
        stored=stored,
        setup=setup,
        obstacle=obstacle_motion(episode),
    )


def harmful_contacts(contacts: tuple[Contact, ...]) -> tuple[HarmfulContact, ...]:
    """One entry per harmful onset, with the largest force and the whole impulse until its end."""
    by_pair: defaultdict[tuple[str, str], list[list[Contact]]] = defaultdict(list)
    for contact in sorted(contacts, key=lambda contact: contact.step):
        if contact.harmful:
            runs = by_pair[contact.robot_body, contact.obstacle_body]
            if contact.onset or not runs:
                runs.append([])
            runs[-1].append(contact)
    found = [_reduced(run) for runs in by_pair.values() for run in runs]
    return tuple(sorted(found, key=lambda contact: (contact.step, contact.link, contact.obstacle)))


def _reduced(run: list[Contact]) -> HarmfulContact:
    first = run[0]
    return HarmfulContact(
        step=first.step,
        link=first.robot_body,
        obstacle=first.obstacle_body,
        grasped=first.grasped,
        peak_force=max(contact.peak_force for contact in run),
        impulse=sum(contact.impulse for contact in run),
        position=tuple(np.asarray(first.position, float).tolist()),
        share=tuple(np.asarray(first.share, float).tolist()),
        residual=float(first.residual),
    )


def _trace(episode: Episode, setup: RunSetup) -> QueryTrace:
    queries = episode.queries
    above = np.zeros((len(queries), len(setup.threshold)), bool)
    if queries.risk is not None:
        above = queries.risk > setup.alarm_threshold
    pushed = np.zeros(len(queries), bool)
    strength = 0.0
    if queries.gate is not None and len(queries):
        pushed = (queries.gate > 0).any(axis=1)
        strength = float(queries.gate[queries.gate > 0].mean()) if pushed.any() else 0.0
    edited = np.zeros(len(queries), bool) if queries.edited is None else queries.edited
    wanted = realised = None
    if queries.wanted is not None and queries.realised is not None:
        dosed = pushed | edited | queries.wanted.any(axis=1)
        wanted = _over_chunks(queries.wanted[dosed], queries)
        realised = _over_chunks(queries.realised[dosed], queries)
    return QueryTrace(
        step=tuple(queries.step.tolist()),
        risk=None if queries.risk is None else tuple(map(tuple, queries.risk.tolist())),
        alarms=tuple(above.sum(axis=1).tolist()),
        acted=tuple(np.flatnonzero(pushed | edited).tolist()),
        gate=strength,
        wanted=wanted,
        realised=realised,
    )


def _over_chunks(units: np.ndarray, queries: Queries) -> tuple[tuple[float, ...], ...]:
    """Changes [.., A] in units a control step as metres and radians over a chunk."""
    changes = from_units(units, queries.raw_actions.shape[1])
    return tuple(map(tuple, changes.tolist()))
