"""From samples to a steering bank, its summary and its pictures."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from mist_jax.risk.subset import of_episodes
from mist_jax.steering.bank import BankMetadata, Directions, SteeringBank
from mist_jax.steering.causal.checkpoint import FOLDER as CAUSAL_FOLDER
from mist_jax.steering.causal.report import ENTRY, SUMMARY
from mist_jax.steering.causal.states import CHOOSE, FIT, TEST, CausalStates, split_states
from mist_jax.steering.checkpoint import FOLDER, save_bank
from mist_jax.steering.conceptors.bank import ConceptorBank
from mist_jax.steering.conceptors.checkpoint import FOLDER as CONCEPTORS_FOLDER
from mist_jax.steering.conceptors.checkpoint import save_conceptors
from mist_jax.steering.conceptors.fit import Conceptors
from mist_jax.steering.extraction import DEFAULT_MIN_SAMPLES, residual_norms
from mist_jax.steering.learned.learn import LearningConfig
from mist_jax.steering.measuring import prove
from mist_jax.steering.proof import Proof
from mist_jax.steering.study.figures import draw_extraction
from mist_jax.steering.study.leftovers import remove_others
from mist_jax.steering.study.method import Found, MethodInputs
from mist_jax.steering.study.registry import in_order
from mist_jax.steering.weights.value_vectors import DEFAULT_TOP


@dataclass(frozen=True)
class ExtractionConfig:
    """What to extract; `layers` is "all" (every stored layer) or ids such as "2-5,7".

    Effects are measured on at most `measured` states, after scales were found on `scaled_on`.
    """

    methods: tuple[str, ...] = ("contrast", "linear", "random")
    layers: str = "all"
    min_samples: int = DEFAULT_MIN_SAMPLES
    top: int = DEFAULT_TOP
    seed: int = 0
    measured: int = 32
    scaled_on: int = 16
    learning: LearningConfig = field(default_factory=LearningConfig)


@dataclass(frozen=True)
class Extraction:
    """What the methods found, each with its proofs, by method and name; and the banks of it.

    `bank` is None where no method found a direction, `conceptors` where none found a conceptor.
    """

    bank: SteeringBank | None
    conceptors: ConceptorBank | None
    found: tuple[Found, ...]
    proofs: Mapping[tuple[str, str], Proof]
    metadata: BankMetadata
    residual_norm: np.ndarray  # float32 [len(metadata.layers)]


def extract_banks(
    samples: Samples,
    dataset_hash: str,
    policy: Policy,
    config: ExtractionConfig,
    states: CausalStates | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Extraction:
    """The banks of all methods, what each found and did not find, and what it does to the action.

    Controls are made for every name that another method found (all names where random is the only
    method). Effects are measured on `states`, stored queries with pictures: a fifth of their scenes
    is for that alone, and what is found comes from other scenes. Without, nothing is proven.

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
    part = None if states is None else split_states(states, config.seed)
    if states is not None:
        samples = _without_scenes(samples, states.part(part == TEST))
    inputs = MethodInputs(
        samples, columns, layers, policy,
        min_samples=config.min_samples, top=config.top, seed=config.seed,
        states=None if states is None else states.part(part == FIT), learning=config.learning,
    )  # fmt: skip
    found: list[Found] = []
    for method in in_order(config.methods):
        say(f"finding {method.name}")
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
    made = Extraction(None, None, tuple(found), {}, metadata, residual_norms(samples, columns))
    made = _joined(made, _site(samples, policy).layers)
    if states is None:
        return made
    rng = np.random.default_rng(config.seed)
    scaled_on = _drawn(states.part(part == CHOOSE), config.scaled_on, rng)
    held_out = _drawn(states.part(part == TEST), config.measured, rng)
    proofs: dict[tuple[str, str], Proof] = {}
    for one in found:
        if not one.names:
            continue
        say(f"measuring {one.method}")
        if isinstance(one, Conceptors):
            assert made.conceptors is not None
            operator_of = made.conceptors.method(one.method).operator
        else:
            assert made.bank is not None
            operator_of = made.bank.method(one.method).steering
        measured = prove(policy, one.names, operator_of, scaled_on.inputs, held_out.inputs)
        proofs |= {(one.method, n): p for n, p in zip(one.names, measured, strict=True)}
    return _joined(dataclasses.replace(made, proofs=proofs), _site(samples, policy).layers)


def _joined(made: Extraction, layers: int) -> Extraction:
    """The banks of what was found."""
    vectors = [one for one in made.found if isinstance(one, Directions)]
    soft = tuple(one for one in made.found if isinstance(one, Conceptors) and one.names)
    bank, metadata, proofs = None, made.metadata, made.proofs
    if any(one.names for one in vectors) or not soft:
        bank = SteeringBank.join(vectors, made.residual_norm, layers, metadata, proofs)
    conceptors = ConceptorBank.join(soft, layers, metadata, proofs) if soft else None
    return dataclasses.replace(made, bank=bank, conceptors=conceptors)


def _without_scenes(samples: Samples, states: CausalStates) -> Samples:
    """The samples of other scenes than those of `states`."""
    out = {tuple(key) for key in states.key.tolist()}
    keep = [tuple(map(str, facts.scene)) not in out for facts in samples.episodes]
    return of_episodes(samples, np.asarray(keep))


def _drawn(states: CausalStates, count: int, rng: np.random.Generator) -> CausalStates:
    return states.part(np.sort(rng.permutation(len(states))[:count]))


def save_extraction(
    folder: Path, made: Extraction, say: Callable[[str], None] = lambda text: None
) -> tuple[Path, ...]:
    """Writes the banks, summary.json and plots/ into `folder`; returns the banks' paths.

    An older extraction is replaced: also its causal bank, if that is not of the same policy and
    data.

    Raises:
        UserError: something else is there, or the disk is full.
    """
    check_output(folder, "steering bank")
    paths = () if made.bank is None else (save_bank(folder, made.bank),)
    if made.conceptors is not None:
        paths += (save_conceptors(folder, made.conceptors),)
    for old in {folder / FOLDER, folder / CONCEPTORS_FOLDER} - set(paths):
        shutil.rmtree(old, ignore_errors=True)  # of an extraction that this one replaces
    remove_others(folder, made.metadata.model, made.metadata.dataset_hash, say)
    layers = made.metadata.layers
    summary = {
        "model": made.metadata.model,
        "dataset_hash": made.metadata.dataset_hash,
        "site": made.metadata.site,
        "layers": layers,
        "residual_norm": made.residual_norm.tolist(),
        "methods": {
            d.method: {
                "directions": {
                    name: {
                        **_figures(d.facts.get(name, {}), layers),
                        "on_actions": made.proofs.get((d.method, name), Proof()).to_dict(),
                    }
                    for name in d.names
                },
                "absent": d.absent,
            }
            for d in made.found
        },
    }
    path = folder / SUMMARY
    if (folder / CAUSAL_FOLDER).is_dir() and path.is_file():
        told = json.loads(path.read_bytes())
        summary |= {ENTRY: told[ENTRY]} if ENTRY in told else {}
    replace_file(path, (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
    draw_extraction(folder / "plots", made.bank, made.found, made.proofs, layers)
    return paths


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
