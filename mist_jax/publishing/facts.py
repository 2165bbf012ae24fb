"""What the card of a published folder tells, read from the folder's own metadata alone."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.episodes.dataset_info import load_info
from mist_jax.episodes.index import dataset_hash, read_index
from mist_jax.episodes.reader import read_records
from mist_jax.policy.checkpoint import read_card, restore_parameters
from mist_jax.publishing.kind import BANKS, Kind
from mist_jax.risk.study.checkpoint import RiskMetadata, restore_risk_head
from mist_jax.risk.study.report import TABLE
from mist_jax.steering.causal.bank import CausalBank
from mist_jax.steering.causal.checkpoint import restore_causal_bank
from mist_jax.steering.checkpoint import Proven, restore_bank
from mist_jax.steering.conceptors.checkpoint import restore_conceptors


@dataclass(frozen=True)
class Facts:
    """`made` tells how it was made, `measured` are Markdown tables or lines with their titles.

    `load` are lines of Python or shell (`language`), with REPO where the repository's name goes.
    """

    title: str
    what: str
    made: dict[str, str]
    load: Sequence[str]
    language: str = "sh"
    measured: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    base_model: str = ""  # published by others


def facts_of(folder: Path, kind: Kind, *, verify: bool = True) -> Facts:
    """What to tell of a folder; its files are read and compared with their digests (`verify`).

    Raises:
        UserError: something of it is missing or damaged.
    """
    if kind.name == "policy":
        return _policy(folder, verify)
    if kind.name == "risk head":
        return _risk_head(folder)
    if kind.name == "steering bank":
        return _banks(folder)
    return _dataset(folder, verify)


def without_paths(command: str) -> str:
    """A command line in which every absolute path is cut to its last name: it is for others."""
    return re.sub(r"(?<![\w./~:-])[~/][^\s'\",=:]*/([^\s'\",=:/]+)/?", r"\1", command)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _policy(folder: Path, verify: bool) -> Facts:
    card = read_card(folder)
    if verify:
        restore_parameters(folder, card)
    told = {
        name: _shown(value)
        for name, value in card.provenance.items()
        if name not in ("fingerprint", "files")
    }
    return Facts(
        title=card.name,
        what="A vision-language-action policy as Orbax parameters for mist_jax, which reads its "
        "activations, forecasts harmful contacts from them and steers it.",
        made={**told, "stored as": card.dtype, "SHA-256 of the parameters": card.digest},
        load=("import mist_jax", 'policy = mist_jax.load_policy("REPO")'),
        language="python",
        tags=("vision-language-action", "libero"),
        base_model=str(card.provenance.get("converted_from", "")),
    )


def _risk_head(folder: Path) -> Facts:
    _, made = restore_risk_head(folder)
    measured = {"Motions": _motions(made)}
    path = folder / TABLE
    if path.is_file():
        text = path.read_text(encoding="utf-8").partition("\n## Details")[0]
        measured["Beside the other detectors, out of sample"] = re.sub("(?m)^## ", "### ", text)
    return Facts(
        title=f"Risk head of {made.model}",
        what="Forecasts, from activations of the policy's own forward pass, which signed motion "
        f"drives a harmful contact within {made.horizon} control steps: calibrated probabilities.",
        made={
            "policy": made.model,
            "detector": made.detector,
            "sites": ", ".join(made.sites),
            "layer": str(made.layer),
            "folds keep together": f"each {made.split}, {made.folds} folds",
            "hash of the dataset": made.dataset_hash,
            "mist_jax": made.code_version,
        },
        load=(
            "hf download REPO --local-dir risk",
            "mist-jax run_evaluation --risk_head=risk --output_dir=evaluation",
        ),
        measured=measured,
        tags=("vision-language-action", "failure-prediction"),
    )


def _motions(made: RiskMetadata) -> str:
    rows = [
        (motion, count, "yes" if usable else "base rate", _number(threshold))
        for motion, count, usable, threshold in zip(
            SIGNED_MOTIONS, made.n_positive, made.usable, made.threshold, strict=True
        )
    ]
    header = ("motion", "positive queries", "learnt", "alarm above")
    said = f"Thresholds let at most {made.false_alarm_rate:.0%} of clean {made.threshold_unit}s "
    return f"{said}raise an alarm.\n\n{table(header, rows)}"


def _banks(folder: Path) -> Facts:
    measured, made, load = {}, {}, ["hf download REPO --local-dir steering"]
    model = ""
    for name in BANKS:
        if not (folder / name).is_dir():
            continue
        if name == BANKS[0]:
            bank = restore_causal_bank(folder)
            measured["Pushes by the Jacobian"] = _effects(bank)
            flag, about = "causal_bank", bank.metadata
            made["layer"] = str(about.layer)
        else:
            bank = restore_bank(folder) if name == BANKS[1] else restore_conceptors(folder)
            measured[f"Directions ({name})"] = _proofs(bank)
            flag, about = "steering_vectors", bank.metadata
        model = about.model
        made |= {f"{name}: hash of the dataset": about.dataset_hash, "mist_jax": about.code_version}
        if name != BANKS[2]:
            given = f"--{flag}=steering --risk_head=RISK --output_dir=evaluation"
            load.append(f"mist-jax run_evaluation {given}")
    return Facts(
        title=f"Steering bank of {model}",
        what="Pushes of the policy's activations, with what each was measured to do to the "
        "executed action on held-out scenes.",
        made={"policy": model, **made},
        load=load,
        measured=measured,
        tags=("vision-language-action", "activation-steering", "interpretability"),
    )


_EFFECT = ("motion", "sign right", "realised / wanted", "cross-talk", "causal")


def _effects(bank: CausalBank) -> str:
    rows = [
        (form, one.motion, f"{one.right} of {one.count}", f"{one.slope[1]:.2f}",
         f"{one.cross_talk[1]:.2f}", "yes" if one.causal else f"no: {one.reason}")
        for form, effects in bank.effects.items()
        for one in effects.motions
    ]  # fmt: skip
    return table(("form", *_EFFECT), rows)


def _proofs(bank: Proven) -> str:
    rows = [
        (method, name, proof)
        for method, name, proof in zip(bank.methods, bank.names, bank.proofs, strict=True)
    ]
    return table(("method", "away from", "what it does"), rows)


def _dataset(folder: Path, verify: bool) -> Facts:
    info, entries = load_info(folder), read_index(folder)
    if verify:
        for _ in read_records(folder, entries):
            pass  # each is compared with its checksum
    counts = Counter((one.key.suite, one.key.arm, one.outcome) for one in entries)
    harmful = Counter((one.key.suite, one.key.arm, one.outcome) for one in entries if one.harmful)
    rows = [(*at, count, harmful[at]) for at, count in sorted(counts.items())]
    made = {
        "kind": info.kind,
        "acted": info.model,
        "assets": info.assets,
        "perturbation": info.perturbation,
        "pictures": f"{info.images}, {info.camera_res} pixels, turned by 180 degrees",
        "activations": ", ".join(info.sites) or "none",
        "hash": dataset_hash(folder),
        "mist_jax": ", ".join(info.code_versions),
    }
    for number, command in enumerate(info.commands, start=1):
        made[f"command {number}"] = f"`{without_paths(command)}`"
    header = ("suite", "arm", "outcome", "episodes", "with harmful contact")
    return Facts(
        title=f"Episodes of {info.model} in {', '.join(info.suites)}",
        what="Robot episodes in LIBERO with every contact, its force and the action dimension that "
        "drove it, as RLDS in ArrayRecord.",
        made=made,
        load=(
            "hf download REPO --repo-type dataset --local-dir data",
            "mist-jax train_risk_predictor --data_dir=data --output_dir=risk",
        ),
        measured={"Episodes": table(header, rows)},
        tags=("libero", "rlds", "contacts"),
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.3f}"
