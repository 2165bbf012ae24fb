"""A steering bank on disk: `steering_bank/`, Orbax arrays and what they are."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from jax.sharding import Sharding

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.checkpoint import checkpoint_path, restore_checkpoint, save_checkpoint
from mist_jax.fields import check_fields
from mist_jax.steering.bank import BankMetadata, SteeringBank
from mist_jax.steering.proof import Proof

KIND = "steering bank"
FOLDER = "steering_bank"
_ARRAYS = ("vectors", "gates", "residual_norm")


def save_bank(folder: Path, bank: SteeringBank) -> Path:
    """Writes `folder`/steering_bank in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    path = folder / FOLDER
    save_checkpoint(path, {name: getattr(bank, name) for name in _ARRAYS}, told_of(bank), KIND)
    return path


def restore_bank(folder: Path, sharding: Sharding | None = None) -> SteeringBank:
    """The bank, placed on `sharding` (default: the first device, whole).

    `folder` is what `extract_steering_vectors` wrote, or the steering_bank folder in it.

    Raises:
        UserError: there is no bank, or it is damaged.
    """

    def build(tree: dict[str, Any], described: dict[str, Any]) -> SteeringBank:
        return SteeringBank(**{name: tree[name] for name in _ARRAYS}, **fields_told(described))

    return restore_checkpoint(checkpoint_path(Path(folder), FOLDER), KIND, build, _misfit, sharding)


class Proven(Protocol):
    """What every bank of named directions tells beside its arrays."""

    names: tuple[str, ...]
    methods: tuple[str, ...]
    proofs: tuple[Proof, ...]
    metadata: BankMetadata


def told_of(bank: Proven) -> dict[str, Any]:
    """What of a bank is no array, JSON-ready; the inverse of `fields_told`."""
    described = dataclasses.asdict(bank.metadata)
    del described["code_version"]
    proofs = [proof.to_dict() for proof in bank.proofs]
    return {"names": bank.names, "methods": bank.methods, "proofs": proofs, **described}


def fields_told(described: Mapping[str, Any]) -> dict[str, Any]:
    """The names, methods, proofs and metadata of a bank.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they are damaged.
    """
    own = dict(described)
    names, methods = (tuple(own.pop(name)) for name in ("names", "methods"))
    proofs = tuple(Proof.from_dict(one) for one in own.pop("proofs"))
    metadata = BankMetadata(**{**own, "layers": tuple(own["layers"])})
    check_fields(metadata)
    return {"names": names, "methods": methods, "proofs": proofs, "metadata": metadata}


def _misfit(bank: SteeringBank) -> str:
    """What of a bank does not fit the rest of it; "" for a whole one."""
    if bank.vectors.ndim != 3:
        return f"vectors are {list(bank.vectors.shape)}, not [V, L, D]"
    count, depth, _ = bank.vectors.shape
    shapes = {"gates": (count, len(SIGNED_MOTIONS)), "residual_norm": (depth,)}
    for name, shape in shapes.items():
        if getattr(bank, name).shape != shape:
            return f"{name} are {list(getattr(bank, name).shape)}, not {list(shape)}"
    for what, texts in (("names", bank.names), ("methods", bank.methods)):
        if len(texts) != count or not all(isinstance(text, str) and text for text in texts):
            return f"its {len(texts)} {what} do not fit {count} vectors"
    if len(bank.proofs) != count:
        return f"its {len(bank.proofs)} proofs do not fit {count} vectors"
    odd = [name for name in bank.names if name not in SIGNED_MOTIONS]
    if odd:
        return f"{odd[0]!r} is no direction; those are {', '.join(SIGNED_MOTIONS)}"
    pairs = list(zip(bank.methods, bank.names, strict=True))
    twice = [pair for pair in pairs if pairs.count(pair) > 1]
    if twice:
        return f"{twice[0][0]} has the direction {twice[0][1]} twice"
    if not all(0 <= layer < depth for layer in bank.metadata.layers):
        return (
            f"layers {list(bank.metadata.layers)} are not all of the {depth} that its vectors have"
        )
    return ""
