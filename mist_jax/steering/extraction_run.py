"""From samples to a steering bank, its summary and its pictures."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mist_jax.checkpoint import code_version
from mist_jax.disk import replace_file
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.intervention.site import ModelSite
from mist_jax.output_folder import check_output
from mist_jax.policy.policy import Policy
from mist_jax.risk.features import Samples
from mist_jax.steering.bank import BankMetadata, Directions, SteeringBank
from mist_jax.steering.checkpoint import save_bank
from mist_jax.steering.extraction import DEFAULT_MIN_SAMPLES, residual_norms
from mist_jax.steering.figures import draw_bank
from mist_jax.steering.method import MethodInputs
from mist_jax.steering.methods import in_order
from mist_jax.steering.value_vectors import DEFAULT_TOP


@dataclass(frozen=True)
class ExtractionConfig:
    """What to extract; `layers` is "all" (every stored layer) or ids such as "2-5,7"."""

    methods: tuple[str, ...] = ("contrast", "linear", "random")
    layers: str = "all"
    min_samples: int = DEFAULT_MIN_SAMPLES
    top: int = DEFAULT_TOP
    seed: int = 0


def extract_bank(
    samples: Samples, dataset_hash: str, policy: Policy, config: ExtractionConfig
) -> tuple[SteeringBank, list[Directions]]:
    """The bank of all methods, and what each found and did not find.

    Random directions are made for every name that another method found (all names where random is
    the only method), so that each has its control.

    Raises:
        UserError: the data are another model's, a layer is not stored, or nothing was found.
    """
    if samples.model != policy.identity:
        raise UserError(
            f"the dataset was collected with {samples.model!r}, --model_name is "
            f"{policy.identity!r}; name the model it was collected with"
        )
    layers = _chosen(config.layers, samples, _site(samples, policy).layers)
    columns = tuple(samples.layers.index(layer) for layer in layers)
    inputs = MethodInputs(
        samples, columns, layers, policy,
        min_samples=config.min_samples, top=config.top, seed=config.seed,
    )  # fmt: skip
    found: list[Directions] = []
    for method in in_order(config.methods):
        directions = method.find(dataclasses.replace(inputs, found=tuple(found)))
        found.append(dataclasses.replace(directions, method=method.name))
    metadata = BankMetadata(
        site=samples.site,
        layers=layers,
        model=samples.model,
        dataset_hash=dataset_hash,
        horizon=samples.horizon,
        share=samples.share,
        seed=config.seed,
        code_version=code_version(),
    )
    norms = residual_norms(samples, columns)
    return SteeringBank.join(found, norms, _site(samples, policy).layers, metadata), found


def save_extraction(folder: Path, bank: SteeringBank, found: Sequence[Directions]) -> Path:
    """Writes the bank, summary.json and plots/ into `folder`; returns the bank's path.

    Raises:
        UserError: something else is there, or the disk is full.
    """
    check_output(folder, "steering bank")
    path = save_bank(folder, bank)
    layers = bank.metadata.layers
    summary = {
        "model": bank.metadata.model,
        "dataset_hash": bank.metadata.dataset_hash,
        "site": bank.metadata.site,
        "layers": layers,
        "residual_norm": np.asarray(bank.residual_norm).tolist(),
        "methods": {
            d.method: {
                "directions": {name: _figures(d.facts.get(name, {}), layers) for name in d.names},
                "absent": d.absent,
            }
            for d in found
        },
    }
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    replace_file(folder / "summary.json", text.encode())
    draw_bank(folder / "plots", bank, found)
    return path


def _figures(facts: dict[str, float], layers: tuple[int, ...]) -> dict[str, float | None]:
    """Facts under the model's layer numbers, null where undefined."""
    names = {f"auroc_layer_{i}": f"held_out_auroc_layer_{layer}" for i, layer in enumerate(layers)}
    return {
        names.get(name, name): value if np.isfinite(value) else None
        for name, value in facts.items()
    }


def _chosen(text: str, samples: Samples, count: int) -> tuple[int, ...]:
    if text.strip() == "all":
        return samples.layers
    layers = parse_ids(text, count, "layer")
    missing = [layer for layer in layers if layer not in samples.layers]
    if missing:
        raise UserError(
            f"--layers: layers {missing} of {samples.site} are not in the dataset, which holds "
            f"{list(samples.layers)}"
        )
    return layers


def _site(samples: Samples, policy: Policy) -> ModelSite:
    """The site the directions are found at, which must be one that can be steered."""
    site = policy.sites.get(samples.site)
    if site is None or not site.steerable:
        steerable = ", ".join(name for name, one in policy.sites.items() if one.steerable)
        raise UserError(f"nothing can steer at {samples.site}; extract at one of {steerable}")
    return site
