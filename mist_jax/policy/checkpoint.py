"""A policy on disk: an Orbax tree of parameters beside the JSON that says what they are.

config.json               architecture, dtype, provenance and a digest of the parameters
dataset_statistics.json   what actions and proprio are normalised by
tokenizer.json            the prompt tokenizer
parameters/               Orbax, restorable on any number of devices in one sharded read
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.sharding import Mesh
from jax.typing import DTypeLike

from mist_jax.checkpoint import digest_of
from mist_jax.disk import whole_folder
from mist_jax.errors import UserError
from mist_jax.policy.architectures import ARCHITECTURES, describe_model, model_of
from mist_jax.policy.dtypes import FLOAT8, STORED_DTYPES
from mist_jax.policy.mesh import policy_mesh
from mist_jax.policy.model import PolicyModel

FORMAT = "mist_jax policy 1"
CONFIG, STATISTICS, TOKENIZER = "config.json", "dataset_statistics.json", "tokenizer.json"
PARAMETERS = "parameters"


@dataclass(frozen=True)
class PolicyCard:
    """What a policy's folder says of itself."""

    name: str
    model: PolicyModel
    dtype: str
    digest: str  # SHA-256 over the parameters
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Name and short digest: what data, heads and banks say they belong to."""
        return f"{self.name}@{self.digest[:12]}"


def is_policy(folder: Path) -> bool:
    """Whether a folder is (or claims to be) a policy of ours."""
    try:
        return json.loads((folder / CONFIG).read_text()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def save_policy(
    folder: Path,
    *,
    name: str,
    model: PolicyModel,
    parameters: Mapping[str, Any],
    statistics: Mapping[str, Any],
    tokenizer: Path,
    provenance: Mapping[str, Any],
) -> PolicyCard:
    """Write a policy beside `folder`, then put it in place whole; an old one is replaced.

    Raises:
        UserError: `folder` holds something that is not a policy, is a file, or the disk is full.
    """
    taken = os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not is_policy(folder):
        raise UserError(f"{folder} exists and is not a policy; name another folder")
    flat = traverse_util.flatten_dict(dict(parameters))
    card = PolicyCard(
        name=name,
        model=model,
        dtype=dtype_of(flat),
        digest=digest_of(flat),
        provenance=provenance,
    )
    with whole_folder(folder) as beside:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((beside / PARAMETERS).absolute(), dict(parameters))
        write_description(beside, card, statistics, tokenizer)
    return card


def write_description(
    folder: Path, card: PolicyCard, statistics: Mapping[str, Any], tokenizer: Path
) -> None:
    """The JSON sidecars of a policy."""
    shutil.copyfile(tokenizer, folder / TOKENIZER)
    (folder / STATISTICS).write_text(json.dumps(statistics, indent=1), encoding="utf-8")
    described = {
        "format": FORMAT,
        "name": card.name,
        "dtype": card.dtype,
        "digest": card.digest,
        "provenance": dict(card.provenance),
        "architecture": describe_model(card.model),
    }
    (folder / CONFIG).write_text(json.dumps(described, indent=1), encoding="utf-8")


def read_card(
    folder: Path, architectures: Mapping[str, type[PolicyModel]] = ARCHITECTURES
) -> PolicyCard:
    """What the folder holds, without reading its parameters.

    Raises:
        UserError: no such folder, not a policy of this format, or of an unknown architecture.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} is not a policy: it has no {CONFIG}")
    try:
        described = json.loads(path.read_bytes())
        if not isinstance(described, dict):
            raise TypeError(f"a {type(described).__name__} in place of an object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if described.get("format") != FORMAT:
        hint = "; run convert_weights on it" if "llm_backbone_id" in described else ""
        raise UserError(f"{path} is not a {FORMAT!r} file{hint}")
    kinds = {"name": str, "dtype": str, "digest": str, "provenance": dict, "architecture": dict}
    for name, kind in kinds.items():
        if not isinstance(described.get(name), kind):
            raise UserError(
                f"{path} is damaged ({name} = {described.get(name)!r:.80}); convert or download "
                "it again"
            )
    if described["dtype"] not in STORED_DTYPES:
        raise UserError(
            f"{path}: dtype {described['dtype']!r} is none of {', '.join(STORED_DTYPES)}"
        )
    return PolicyCard(
        name=described["name"],
        model=model_of(described["architecture"], architectures),
        dtype=described["dtype"],
        digest=described["digest"],
        provenance=described["provenance"],
    )


def restore_parameters(
    folder: Path,
    card: PolicyCard,
    *,
    dtype: DTypeLike | None = None,
    mesh: Mesh | None = None,
    verify: bool = True,
) -> dict[str, Any]:
    """One sharded read of the parameters onto `mesh` (default: the first device), cast to `dtype`.

    `dtype` may be "float8": the weights of large products are then quantised, if they are not
    stored so. `verify` compares them with the digest of their card: every byte goes through SHA-256
    on the host, at about 1 GB/s (a 7B policy of 15 GB takes some 20 s).

    Raises:
        UserError: the parameters are missing, damaged, of other shapes, or not those of the card;
            or float8, and another dtype is asked for.
    """
    mesh = mesh or policy_mesh(jax.devices()[:1])
    if card.dtype == FLOAT8 and dtype not in (None, FLOAT8):
        raise UserError(
            f"{folder} holds float8 weights, which cannot be had as {jnp.dtype(dtype).name}; "
            "convert the policy again with that --dtype"
        )
    if card.dtype == FLOAT8:
        wanted = stored_arrays(card.model, FLOAT8)
        parameters = _restore(folder, card, wanted, mesh)
        if verify:
            _verify(folder, card, parameters, None)
        return parameters
    stored = jnp.dtype(card.dtype)
    kind = stored if dtype in (None, FLOAT8) else jnp.dtype(dtype)
    # What a narrower type rounds away cannot be verified, so the cast then comes after.
    read = kind if not verify or jnp.promote_types(stored, kind) == kind else stored
    parameters = _restore(folder, card, stored_arrays(card.model, read), mesh)
    if verify:
        _verify(folder, card, parameters, stored)
    if read != kind:
        parameters = jax.tree.map(lambda leaf: leaf.astype(kind), parameters)
    return card.model.quantise(parameters, donate=True) if dtype == FLOAT8 else parameters


def stored_arrays(model: PolicyModel, dtype: DTypeLike) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every array of a policy stored in `dtype`, by its path."""
    kind = jnp.bfloat16 if dtype == FLOAT8 else jnp.dtype(dtype)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, kind), model.abstract_parameters()
    )
    if dtype == FLOAT8:
        abstract = jax.eval_shape(model.quantise, abstract)
    flat: Any = traverse_util.flatten_dict(abstract, sep="/")
    return flat


def dtype_of(parameters: Any) -> str:
    """What parameters are called, in any form: float32, bfloat16 or float8."""
    kinds = [leaf.dtype for leaf in jax.tree.leaves(parameters)]
    return FLOAT8 if jnp.dtype(jnp.float8_e4m3fn) in kinds else str(kinds[0])


def _verify(
    folder: Path, card: PolicyCard, parameters: dict[str, Any], stored: DTypeLike | None
) -> None:
    if digest_of(traverse_util.flatten_dict(parameters), stored) != card.digest:
        raise UserError(
            f"{folder / PARAMETERS} does not hold the parameters whose digest is in {CONFIG}; "
            "convert or download it again"
        )


def _restore(
    folder: Path, card: PolicyCard, wanted: Mapping[str, jax.ShapeDtypeStruct], mesh: Mesh
) -> dict[str, Any]:
    target = {
        path: jax.ShapeDtypeStruct(
            leaf.shape,
            leaf.dtype,
            sharding=card.model.parameter_sharding(mesh, path, leaf.shape),
        )
        for path, leaf in wanted.items()
    }
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(
                (folder / PARAMETERS).absolute(), traverse_util.unflatten_dict(target, sep="/")
            )
    except Exception as error:  # Orbax raises bare Exception for damaged data
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder / PARAMETERS} cannot be read ({reason}); convert or download it again"
        ) from error
    return parameters
