"""The training run: cloning with DAgger rounds in between, and the policy that it leaves."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mist_jax.checkpoint import code_version
from mist_jax.disk import replace_file
from mist_jax.episodes.index import dataset_hash, read_index
from mist_jax.episodes.reader import read_episodes
from mist_jax.errors import UserError
from mist_jax.ids import format_ids
from mist_jax.output_folder import check_output
from mist_jax.policy.checkpoint import PolicyCard, save_policy
from mist_jax.policy.openvla_oft.network.config import OpenVLAOFTConfig
from mist_jax.policy.openvla_oft.policy_model import OpenVLAOFTModel
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import Preprocessor
from mist_jax.progress import progress_bar
from mist_jax.tracking import Tracker
from mist_jax.training.behaviour_cloning import (
    CloningSpec,
    CloningState,
    cloning_steps,
    initial_state,
)
from mist_jax.training.cloning_data import cloning_data
from mist_jax.training.dagger import Dagger
from mist_jax.training.data_statistics import statistics_of
from mist_jax.training.metric_log import MetricLog
from mist_jax.training.samples import CloningSamples, SampleSpec, concatenate, gather_samples
from mist_jax.training.tokenizer import VOCABULARY_SUITES, vocabulary_of, write_tokenizer


@dataclass(frozen=True)
class TrainingPlan:
    """One training run. `dagger` None clones only; `data_dirs` are episode datasets.

    The tokenizer is trained on the instructions of `vocabulary_suites`, and on those of the data
    that are not among them.
    """

    name: str
    config: OpenVLAOFTConfig
    cloning: CloningSpec
    data_dirs: tuple[Path, ...]
    output_dir: Path
    seed: int = 0
    log_every: int = 100
    save_every: int = 1000
    decode_workers: int = 2
    dagger: Dagger | None = None
    vocabulary_suites: tuple[str, ...] = VOCABULARY_SUITES


class Training:
    """A run in progress: data, state and the files they are kept in."""

    def __init__(self, plan: TrainingPlan, tracker: Tracker | None = None):
        """Reads the demonstrations and goes on from the last checkpoint, if there is one.

        `tracker` is told the metrics, beside their file.
        """
        self.plan, self._tracker = plan, tracker
        check_output(plan.output_dir, "training run")
        plan.output_dir.mkdir(parents=True, exist_ok=True)
        self._check_same_run()
        self.demonstrations = self._samples(plan.data_dirs)
        self.corrections: list[CloningSamples] = []
        table = statistics_of(self.demonstrations, f"{plan.name}_demonstrations")
        self.statistics_table = table
        self.tokenizer_file = plan.output_dir / "tokenizer.json"
        instructions = vocabulary_of(plan.vocabulary_suites, self.demonstrations.instructions)
        write_tokenizer(self.tokenizer_file, instructions, plan.config.vocab_size)
        self.preprocessor = Preprocessor.of(plan.config.preprocessing, table, self.tokenizer_file)
        self.state = initial_state(plan.config, plan.cloning, plan.seed)
        self._manager = ocp.CheckpointManager(
            (plan.output_dir / "state").absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False),
        )
        self._restore()

    def run(self) -> PolicyCard:
        """Train to the end; returns the card of the policy saved under `output_dir/policy`."""
        plan, total = self.plan, self.plan.cloning.steps
        rounds = () if plan.dagger is None else plan.dagger.steps_of_rounds(total)
        key = jax.random.key(plan.seed)
        log = MetricLog(plan.output_dir / "metrics.jsonl", int(self.state.step), self._tracker)
        with progress_bar("training", total, "step") as bar:
            bar.advance(int(self.state.step), resumed=True)
            data = None
            while (step := int(self.state.step)) < total:
                if plan.dagger is not None and step in rounds:
                    number = rounds.index(step)
                    if number >= len(self.corrections):
                        self.save()
                        data = None  # frees the device's memory for the rollouts' batch
                        folder = plan.dagger.roll_out(self.policy(), number, plan.output_dir)
                        self.corrections.append(self._samples((folder,)))
                        summary = plan.dagger.summary(number, folder)
                        log.write(step, summary)
                        bar.note(" ".join(f"{k} {v:.3f}" for k, v in summary.items()))
                if data is None:
                    data = self._data()
                ahead = [r for r in (*rounds, total) if r > step]
                count = min(plan.log_every, min(ahead) - step)
                self.state, metrics = cloning_steps(
                    plan.config, plan.cloning, self.state, data, key, steps=count
                )
                values = {name: float(value) for name, value in metrics.items()}
                if not np.isfinite(list(values.values())).all():
                    raise UserError(
                        f"training diverged at step {step}: lower --config.learning_rate "
                        f"(now {plan.cloning.learning_rate})"
                    )
                log.write(step + count, values)
                bar.advance(count, f"L1 {values['action_l1']:.4f}")
                if (step + count) // plan.save_every > step // plan.save_every:
                    self.save()
                    self._save_policy()
        self.save()
        return self._save_policy()

    def policy(self) -> Policy:
        """The averaged parameters as a policy that can be rolled out."""
        plan, config = self.plan, self.plan.config
        parameters = jax.tree.map(jnp.copy, self.state.average)
        card = PolicyCard(
            plan.name, OpenVLAOFTModel(config), "float32", f"step{int(self.state.step):09d}"
        )
        return Policy(card, parameters, self.preprocessor)

    def save(self) -> None:
        """Keep the state, to go on from."""
        step = int(self.state.step)
        if self._manager.latest_step() != step:
            self._manager.save(step, args=ocp.args.StandardSave(_tree(self.state)))

    def _restore(self) -> None:
        step = self._manager.latest_step()
        if step is None:
            return
        try:
            tree = self._manager.restore(step, args=ocp.args.StandardRestore(_tree(self.state)))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self.plan.output_dir / 'state'} cannot be read ({error}); remove it"
            ) from error
        leaves, structure = jax.tree.flatten(self.state)
        restored = [tree[f"{index:04d}"] for index in range(len(leaves))]
        self.state = jax.tree.unflatten(structure, restored)
        if self.plan.dagger is not None:
            for number, at in enumerate(self.plan.dagger.steps_of_rounds(self.plan.cloning.steps)):
                if at < step:
                    folder = self.plan.dagger.folder(number, self.plan.output_dir)
                    self.corrections.append(self._samples((folder,)))

    def _samples(self, folders: tuple[Path, ...]) -> CloningSamples:
        spec = SampleSpec(self.plan.config.image_size, self.plan.config.chunk)
        episodes = (
            episode
            for folder in folders
            for episode in read_episodes(folder, images=True)
            if episode.outcome != "crashed"
        )
        return concatenate(gather_samples(episodes, spec, self.plan.decode_workers))

    def _data(self):
        share = 0.0 if self.plan.dagger is None else self.plan.dagger.share
        recent = [(samples, share / len(self.corrections)) for samples in self.corrections]
        groups = [(self.demonstrations, 1.0 - share * bool(recent)), *recent]
        before = self.preprocessor
        return cloning_data(self.plan.config, groups, before.statistics, before.tokenizer)

    def _save_policy(self) -> PolicyCard:
        plan = self.plan
        stored = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), self.state.average)
        return save_policy(
            plan.output_dir / "policy",
            name=plan.name,
            model=OpenVLAOFTModel(plan.config),
            parameters=stored,
            statistics=self.statistics_table,
            tokenizer=self.tokenizer_file,
            provenance=self._provenance(),
        )

    def _provenance(self) -> Mapping[str, Any]:
        return {
            "trained_by": "train_policy",
            "cloning": dataclasses.asdict(self.plan.cloning),
            "seed": self.plan.seed,
            "data": [folder.name for folder in self.plan.data_dirs],
            "dataset_hash": dataset_hash(*self.plan.data_dirs),
            "code_version": code_version(),
            "demonstration_steps": len(self.demonstrations),
            "dagger_steps": [len(samples) for samples in self.corrections],
            "trained_scenes": self._trained_scenes(),
        }

    def _trained_scenes(self) -> Mapping[str, str]:
        """Initial states of all episodes learnt from, of whatever task, by suite: what an
        evaluation should not use."""
        plan, folders = self.plan, list(self.plan.data_dirs)
        if plan.dagger is not None:
            rounds = range(len(self.corrections))
            folders += [plan.dagger.folder(number, plan.output_dir) for number in rounds]
        states: defaultdict[str, set[int]] = defaultdict(set)
        for folder in folders:
            for entry in read_index(folder):
                if entry.outcome != "crashed":
                    states[entry.key.suite].add(entry.key.initial_state)
        return {suite: format_ids(found) for suite, found in sorted(states.items())}

    def _check_same_run(self) -> None:
        """A folder belongs to one plan: going on with another would mix two runs."""
        plan, path = self.plan, self.plan.output_dir / "plan.json"
        dagger = None if plan.dagger is None else dataclasses.asdict(plan.dagger)
        if dagger is not None:
            del dagger["num_workers"]  # has no say in what comes out
        described = json.dumps(
            {
                "name": plan.name,
                "config": plan.config.to_dict(),
                "cloning": dataclasses.asdict(plan.cloning),
                "dagger": dagger,
                "seed": plan.seed,
                "data": [str(folder) for folder in plan.data_dirs],
                "dataset_hash": dataset_hash(*plan.data_dirs),
                "vocabulary_suites": plan.vocabulary_suites,
            },
            indent=1,
        )
        content = described.encode()
        if path.exists() and not (path.is_file() and path.read_bytes() == content):
            raise UserError(
                f"{plan.output_dir} holds another training run (see plan.json); "
                "name another --output_dir"
            )
        replace_file(path, content)


def _tree(state: CloningState) -> dict[str, Any]:
    """The state as a flat tree that does not depend on the versions of Flax and Optax."""
    return {f"{index:04d}": leaf for index, leaf in enumerate(jax.tree.leaves(state))}
