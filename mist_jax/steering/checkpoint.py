"""A steering bank on disk: `steering_bank/`, Orbax arrays and what they are."""

import dataclasses
from pathlib import Path

from jax.sharding import Sharding

from mist_jax.checkpoint import METADATA, read_metadata, restore_arrays, save_checkpoint
from mist_jax.errors import UserError
from mist_jax.steering.bank import BankMetadata, SteeringBank

KIND = "steering bank"
FOLDER = "steering_bank"
_ARRAYS = ("vectors", "gates", "residual_norm")


def save_bank(folder: Path, bank: SteeringBank) -> Path:
    """Writes `folder`/steering_bank in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there.
    """
    described = dataclasses.asdict(bank.metadata)
    del described["code_version"]
    path = folder / FOLDER
    save_checkpoint(
        path,
        {name: getattr(bank, name) for name in _ARRAYS},
        {"names": bank.names, "methods": bank.methods, **described},
        KIND,
    )
    return path


def restore_bank(folder: Path, sharding: Sharding | None = None) -> SteeringBank:
    """The bank, placed on `sharding` (default: the first device, whole).

    `folder` is what `extract_steering_vectors` wrote, or the steering_bank folder in it.

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
        described["layers"] = tuple(described["layers"])
        metadata = BankMetadata(**described)
        arrays = {name: tree[name] for name in _ARRAYS}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is of another version ({error!r}); extract it again") from error
    return SteeringBank(**arrays, names=names, methods=methods, metadata=metadata)
