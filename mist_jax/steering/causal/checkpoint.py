"""A causal bank on disk: `causal_bank/`, Orbax arrays and what they are."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import jax.numpy as jnp
from jax.sharding import Sharding

from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.checkpoint import checkpoint_path, restore_checkpoint, save_checkpoint
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.intervention.features import Projection
from mist_jax.intervention.intent.registry import INTENTS
from mist_jax.steering.causal.bank import FORMS, CausalBank, CausalMetadata
from mist_jax.steering.causal.effects import Effects, MotionEffect

KIND = "causal bank"
FOLDER = "causal_bank"
_ARRAYS = ("table", "terms", "covariance", "own")


def save_causal_bank(folder: Path, bank: CausalBank) -> Path:
    """Writes `folder`/causal_bank in one step and returns its path; replaces an older one.

    Raises:
        UserError: something else is there, or an intent is of a class that `INTENTS` lacks.
    """
    described = dataclasses.asdict(bank.metadata)
    del described["code_version"]
    tree: dict[str, Any] = {name: getattr(bank, name) for name in _ARRAYS}
    tree["projection"] = _tree_of(bank.projection)
    if bank.intents:
        tree["intents"] = {name: _tree_of(intent) for name, intent in bank.intents.items()}
    path = folder / FOLDER
    save_checkpoint(
        path,
        tree,
        {
            **described,
            "intents": {name: _kind_of(intent) for name, intent in bank.intents.items()},
            "effects": {form: dataclasses.asdict(found) for form, found in bank.effects.items()},
        },
        KIND,
    )
    return path


def restore_causal_bank(folder: Path, sharding: Sharding | None = None) -> CausalBank:
    """The bank, placed on `sharding` (default: the first device, whole).

    `folder` is what `extract_steering_vectors` wrote, or the causal_bank folder in it.

    Raises:
        UserError: there is no bank, or it is damaged.
    """

    def build(tree: dict[str, Any], described: dict[str, Any]) -> CausalBank:
        kinds, effects = described.pop("intents"), described.pop("effects")
        arrays = tree.get("intents", {})
        for name in ("instructions", "edges", "tokens", "reads", "own_r2"):
            described[name] = tuple(described[name])
        metadata = CausalMetadata(**described)
        check_fields(metadata)
        return CausalBank(
            **{name: tree[name] for name in _ARRAYS},
            projection=_built(Projection, tree["projection"]),
            intents={name: _built(INTENTS[kinds[name]], arrays[name]) for name in kinds},
            effects={form: _effects(found) for form, found in effects.items()},
            metadata=metadata,
        )

    return restore_checkpoint(checkpoint_path(Path(folder), FOLDER), KIND, build, _misfit, sharding)


def _tree_of(made: Any) -> dict[str, Any]:
    """The arrays of a pytree of dataclasses, by the names of its fields."""
    values = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    return {
        name: _tree_of(value) if dataclasses.is_dataclass(value) else jnp.asarray(value)
        for name, value in values.items()
    }


def _built(kind: Any, tree: Mapping[str, Any]) -> Any:
    """The inverse of `_tree_of`."""
    hints = get_type_hints(kind)
    return kind(
        **{
            name: _built(hints[name], value) if isinstance(value, Mapping) else value
            for name, value in tree.items()
        }
    )


def _kind_of(intent: Any) -> str:
    found = [name for name, kind in INTENTS.items() if type(intent) is kind]
    if not found:
        raise UserError(f"{type(intent).__name__} is no intent of INTENTS and cannot be saved")
    return found[0]


def _effects(described: Mapping[str, Any]) -> Effects:
    motions = []
    for one in described["motions"]:
        lists = {name: tuple(value) for name, value in one.items() if isinstance(value, list)}
        motions.append(MotionEffect(**{**one, **lists}))
    found = Effects(**{**described, "motions": tuple(motions), "sizes": tuple(described["sizes"])})
    check_fields(found)
    return found


def _misfit(bank: CausalBank) -> str:
    """What of a bank does not fit the rest of it; "" for a whole one."""
    made, table = bank.metadata, bank.table
    if table.ndim != 4 or table.shape[1] != len(ACTION_DIMENSIONS):
        return f"its table is {list(table.shape)}, not [rows, {len(ACTION_DIMENSIONS)}, S, D]"
    rows = (len(made.instructions) + 1) * made.phases
    if len(table) != rows:
        return f"its table has {len(table)} rows, not {rows}"
    if not made.per_token and table.shape[2] != 1:
        return f"its table has {table.shape[2]} pushes for one"
    count = len(bank.projection.scale)
    if bank.terms.shape != (1 + count, *table.shape[1:]):
        return f"its terms are {list(bank.terms.shape)}, its table {list(table.shape)}"
    if bank.own.shape != (1 + count, table.shape[1]):
        return f"its own motion is {list(bank.own.shape)}, its terms {list(bank.terms.shape)}"
    if bank.covariance.shape[1:] != table.shape[2:]:
        return f"its covariance is {list(bank.covariance.shape)}, its table {list(table.shape)}"
    if len(bank.projection.mean) != len(made.reads) * table.shape[3]:
        return f"it reads {len(bank.projection.mean)} numbers of {len(made.reads)} roles"
    if set(made.damping) != set(FORMS) or any(not value > 0 for value in made.damping.values()):
        return f"its damping is {dict(made.damping)}"
    if not 0 <= made.layer < made.layers:
        return f"layer {made.layer} is none of {made.layers}"
    return ""
