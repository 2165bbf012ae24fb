"""A conceptor bank on disk: `conceptor_bank/`, Orbax arrays and what they are."""

from pathlib import Path
from typing import Any

from jax.sharding import Sharding

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.checkpoint import checkpoint_path, restore_checkpoint, save_checkpoint
from mist_jax.steering.checkpoint import fields_told, told_of
from mist_jax.steering.conceptors.bank import ConceptorBank

KIND = "conceptor bank"
FOLDER = "conceptor_bank"
_ARRAYS = ("basis", "kept", "centre", "gates")


def save_conceptors(folder: Path, bank: ConceptorBank) -> Path:
    """Writes `folder`/conceptor_bank in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    path = folder / FOLDER
    arrays = {name: getattr(bank, name) for name in _ARRAYS}
    save_checkpoint(path, arrays, {**told_of(bank), "depth": bank.layers}, KIND)
    return path


def restore_conceptors(folder: Path, sharding: Sharding | None = None) -> ConceptorBank:
    """The bank, placed on `sharding` (default: the first device, whole).

    `folder` is what `extract_steering_vectors` wrote, or the conceptor_bank folder in it.

    Raises:
        UserError: there is no bank, or it is damaged.
    """

    def build(tree: dict[str, Any], described: dict[str, Any]) -> ConceptorBank:
        layers = int(described.pop("depth"))
        arrays = {name: tree[name] for name in _ARRAYS}
        return ConceptorBank(**arrays, layers=layers, **fields_told(described))

    return restore_checkpoint(checkpoint_path(Path(folder), FOLDER), KIND, build, _misfit, sharding)


def _misfit(bank: ConceptorBank) -> str:
    """What of a bank does not fit the rest of it; "" for a whole one."""
    if bank.basis.ndim != 4:
        return f"its bases are {list(bank.basis.shape)}, not [V, steered, D, rank]"
    count, steered, width, rank = bank.basis.shape
    shapes = {
        "kept": (count, steered, rank),
        "centre": (count, steered, width),
        "gates": (count, len(SIGNED_MOTIONS)),
    }
    for name, shape in shapes.items():
        if getattr(bank, name).shape != shape:
            return f"{name} are {list(getattr(bank, name).shape)}, not {list(shape)}"
    if not len(bank.names) == len(bank.methods) == len(bank.proofs) == count:
        return f"its {len(bank.names)} names do not fit {count} conceptors"
    odd = [name for name in bank.names if name not in SIGNED_MOTIONS]
    if odd:
        return f"{odd[0]!r} is no direction; those are {', '.join(SIGNED_MOTIONS)}"
    layers = bank.metadata.layers
    if len(layers) != steered or not all(0 <= layer < bank.layers for layer in layers):
        return f"layers {list(layers)} do not fit {steered} of {bank.layers}"
    return ""
