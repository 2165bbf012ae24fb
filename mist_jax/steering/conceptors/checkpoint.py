"""A conceptor bank on disk: `conceptor_bank/`, Orbax arrays and what they are."""

import dataclasses
from pathlib import Path

from jax.sharding import Sharding

from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.checkpoint import METADATA, read_metadata, restore_arrays, save_checkpoint
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.steering.bank import BankMetadata
from mist_jax.steering.conceptors.bank import ConceptorBank
from mist_jax.steering.proof import Proof

KIND = "conceptor bank"
FOLDER = "conceptor_bank"
_ARRAYS = ("basis", "kept", "centre", "gates")


def save_conceptors(folder: Path, bank: ConceptorBank) -> Path:
    """Writes `folder`/conceptor_bank in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    described = dataclasses.asdict(bank.metadata)
    del described["code_version"]
    path = folder / FOLDER
    save_checkpoint(
        path,
        {name: getattr(bank, name) for name in _ARRAYS},
        {
            "names": bank.names,
            "methods": bank.methods,
            "proofs": [proof.to_dict() for proof in bank.proofs],
            "depth": bank.layers,
            **described,
        },
        KIND,
    )
    return path


def restore_conceptors(folder: Path, sharding: Sharding | None = None) -> ConceptorBank:
    """The bank, placed on `sharding` (default: the first device, whole).

    `folder` is what `extract_steering_vectors` wrote, or the conceptor_bank folder in it.

    Raises:
        UserError: there is no bank, or it is damaged.
    """
    folder = Path(folder)
    path = folder if (folder / METADATA).is_file() else folder / FOLDER
    described = read_metadata(path, KIND)
    del described["kind"]
    tree = restore_arrays(path, sharding)
    try:
        names, methods = (tuple(described.pop(name)) for name in ("names", "methods"))
        proofs = tuple(Proof.from_dict(one) for one in described.pop("proofs"))
        depth = int(described.pop("depth"))
        described["layers"] = tuple(described["layers"])
        metadata = BankMetadata(**described)
        check_fields(metadata)
        bank = ConceptorBank(
            **{name: tree[name] for name in _ARRAYS},
            names=names,
            methods=methods,
            proofs=proofs,
            layers=depth,
            metadata=metadata,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged, or of another version ({error!r}); extract it again"
        ) from error
    wrong = _misfit(bank)
    if wrong:
        raise UserError(f"{path} is damaged: {wrong}; extract it again")
    return bank


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
