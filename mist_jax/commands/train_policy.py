"""Trains a policy of the OpenVLA-OFT architecture by behaviour cloning and DAgger."""

import math
import os
from collections.abc import Iterator
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from mist_jax.commands.flags import extension_flags, tracking_flags
from mist_jax.commands.flags.dataset_folders import data_folders
from mist_jax.commands.flags.folders import folder_of
from mist_jax.errors import UserError
from mist_jax.tracking import tracking
from mist_jax.training.recipes import clone

flags.adopt_module_key_flags(extension_flags)
flags.adopt_module_key_flags(tracking_flags)

_DATA_DIR = flags.DEFINE_list(
    "data_dir", None, "Episode datasets to learn from, comma separated.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Where state, metrics and the policy go; the policy is OUTPUT/policy.",
    required=True,
)
_PRESET = flags.DEFINE_enum("preset", "mist-nano", ("mist-nano",), "Architecture to train.")
_NAME = flags.DEFINE_string("name", "", "Name of the policy; default: the preset's.")
_STEPS = flags.DEFINE_integer("steps", 200, "Optimiser steps.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of initialisation and of all draws.", 0, 2**31 - 1)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Processes that decode images and simulate; default: one per core.", 1
)
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Hyperparameters, such as mist_jax/training/recipes/mist_nano.py; default: clone.py beside it. "
    "Given, its fields are flags of their own: --config.batch_size=64.",
    lock_config=True,
)


def main() -> None:
    """Builds the plan from the flags and runs it."""
    from mist_jax.policy.openvla_oft.network.config import PRESETS
    from mist_jax.training.behaviour_cloning import CloningSpec
    from mist_jax.training.dagger import Dagger
    from mist_jax.training.train import Training, TrainingPlan

    folders = data_folders(_DATA_DIR.value)
    config = _hyperparameters()
    workers = _NUM_WORKERS.value or len(os.sched_getaffinity(0))
    cloning = CloningSpec(
        steps=_STEPS.value,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        average=config.average,
        landmark_weight=config.landmark_weight,
        compute_dtype=config.compute_dtype,
    )
    dagger = None
    if config.dagger.rounds:
        dagger = Dagger(**config.dagger.to_dict(), num_workers=workers)
    plan = TrainingPlan(
        name=_NAME.value or _PRESET.value,
        config=PRESETS[_PRESET.value],
        cloning=cloning,
        data_dirs=folders,
        output_dir=folder_of(_OUTPUT_DIR.value),
        seed=_SEED.value,
        log_every=config.log_every,
        save_every=config.save_every,
        decode_workers=workers,
        dagger=dagger,
        vocabulary_suites=tuple(config.vocabulary_suites),
    )
    with tracking(tracking_flags.TRACK.value, plan.output_dir, "train_policy") as tracker:
        card = Training(plan, tracker).run()
    print(f"{card.identity} is in {plan.output_dir / 'policy'}")


def _hyperparameters() -> Any:  # ConfigDict knows no field's type
    config = _CONFIG.value if flags.FLAGS["config"].present else clone.get_config()
    try:
        getattr(config, "batch_size", None)
        if not isinstance(config, ConfigDict):
            raise UserError(f"--config: its get_config() gives {config!r}, not a ConfigDict")
    except OSError as error:  # the flag keeps back that its file cannot be read
        raise UserError(f"--config: {' '.join(str(error).split())}") from error
    lacking = [name for name in clone.get_config() if name not in config]
    if lacking:
        raise UserError(f"--config: its get_config() gives no {', '.join(lacking)}")
    infinite = [name for name, value in _leaves(config) if not math.isfinite(value)]
    if infinite:
        raise UserError(f"--config.{infinite[0]} is not a finite number")
    return config


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", value
