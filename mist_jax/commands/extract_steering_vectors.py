"""Finds directions of the residual stream that lead away from harm, one per signed motion.

    python -m experiments.extract_steering_vectors --data_dir=data/episodes \
        --model_name=mist-nano --output_dir=runs/steering

Writes output_dir/steering_bank (Orbax and its metadata), conceptor_bank where asked for,
summary.json and plots/. Where the data keep pictures (--images=query) also causal_bank: pushes by
the action's Jacobian at one layer; and what each direction does to the executed action is measured
on scenes that it was not made from. Without pictures none is taken for causal.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mist_jax.commands.flags import causal_flags, extension_flags
from mist_jax.commands.flags.dataset_folders import check_stored, folders_to_learn_from
from mist_jax.commands.flags.folders import folder_of
from mist_jax.commands.start import binary
from mist_jax.errors import UserError
from mist_jax.output_folder import check_output

if TYPE_CHECKING:
    from mist_jax.policy.policy import Policy

_DATA_DIR = flags.DEFINE_list(
    "data_dir", None, "Episode datasets to extract from, comma separated.", required=True
)
_MODEL_NAME = flags.DEFINE_string(
    "model_name", "mist-nano", "Converted model folder, hub id, or mist-nano, the shipped one."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the bank goes.", required=True)
_METHODS = flags.DEFINE_list(
    "methods",
    ["contrast", "linear", "random"],
    "contrast, linear, value_vectors, conceptor, learned, contrast_permuted, linear_permuted, "
    "conceptor_permuted, random, conceptor_random, or what an extension adds; empty for none.",
)
_LAYERS = flags.DEFINE_string(
    "layers", "all", "Layers to make vectors for, such as 2-5 or 3,5; all: every stored one."
)
_SITE = flags.DEFINE_string("site", "llm.resid", "Activations to contrast.")
_HORIZON = flags.DEFINE_integer(
    "horizon", 16, "Control steps within which a harmful contact counts.", 1, 10_000
)
_SHARE = flags.DEFINE_float(
    "share", 0.25, "Least share of the approach for a dimension to be blamed.", 0.0, 1.0
)
_MIN_SAMPLES = flags.DEFINE_integer(
    "min_samples", 8, "Matched risky queries below which a direction is left out.", 2
)
_TOP_K = flags.DEFINE_integer("top_k", 20, "Value vectors in a direction of value_vectors.", 1)
_EFFECT_STATES = flags.DEFINE_integer(
    "effect_states", 400, "Queries with pictures, at most, to measure and learn effects on.", 20
)
_PICTURES_DIR = flags.DEFINE_list(
    "pictures_dir",
    None,
    "Datasets (--images=query) that those are of; default those of --data_dir.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of random directions and of halves.", 0, 2**31 - 1)

flags.adopt_module_key_flags(extension_flags)
flags.adopt_module_key_flags(causal_flags)


def main() -> None:
    """Gathers, extracts, writes."""
    from mist_jax.steering.study.registry import LEARNED, in_order

    methods, output = tuple(dict.fromkeys(_METHODS.value)), folder_of(_OUTPUT_DIR.value)
    in_order(methods)  # refuses an unknown one before anything is read
    data = folders_to_learn_from(_DATA_DIR.value)
    check_output(output, "steering bank")
    causal = causal_flags.check(data)
    if methods:
        check_stored(data, _SITE.value, _LAYERS.value)
        pictured = _pictured(data)
        if LEARNED in methods and not pictured:
            raise UserError(
                f"--methods: {LEARNED} asks the policy about stored pictures, which the data lack; "
                f"collect with --images=query, or leave {LEARNED} out"
            )
    elif not causal:
        raise UserError("--methods is empty and no causal bank is made: there is nothing to do")

    from mist_jax.loading import load_policy

    policy = load_policy(_MODEL_NAME.value)
    if methods:
        _directions(methods, data, policy, output)
    if causal:
        path, tables = causal_flags.make(data, policy, output, _SEED.value)
        for table in tables:
            binary.print_table(table)
        print(f"causal bank: {path}")


def _pictured(data: tuple[Path, ...]) -> tuple[Path, ...]:
    """The datasets whose queries keep their pictures."""
    from mist_jax.episodes.dataset_info import load_info

    named = folders_to_learn_from(_PICTURES_DIR.value) if _PICTURES_DIR.value else data
    return tuple(folder for folder in named if load_info(folder).images != "none")


def _directions(
    methods: tuple[str, ...], data: tuple[Path, ...], policy: "Policy", output: Path
) -> None:
    """The steering bank of these methods."""
    from mist_jax.episodes.index import dataset_hash
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.risk.features import gather_samples
    from mist_jax.steering.causal.states import gather_states
    from mist_jax.steering.proof import Proof
    from mist_jax.steering.study.extraction_run import (
        ExtractionConfig,
        extract_banks,
        save_extraction,
    )

    digest = dataset_hash(*data)
    samples = gather_samples(
        read_episodes(*data), _SITE.value, _HORIZON.value, _SHARE.value, target="all"
    )
    states = None
    if pictured := _pictured(data):
        episodes = read_episodes(*pictured, images=True)
        states = gather_states(episodes, policy, limit=_EFFECT_STATES.value, seed=_SEED.value)
    config = ExtractionConfig(
        methods=methods,
        layers=_LAYERS.value,
        min_samples=_MIN_SAMPLES.value,
        top=_TOP_K.value,
        seed=_SEED.value,
    )
    made = extract_banks(samples, digest, policy, config, states, say=print)
    paths = save_extraction(output, made, say=print)
    for directions in made.found:
        print(f"{directions.method}: {' '.join(directions.names) or 'none'}")
        if directions.absent:
            print(f"  absent, summary.json says why: {', '.join(directions.absent)}")
        for name in directions.names:
            proof = made.proofs.get((directions.method, name), Proof())
            print(f"  {name} on the action: {proof}")
    for path in paths:
        print(f"{path.name.replace('_', ' ')}: {path}")
