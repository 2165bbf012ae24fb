"""Policies by name: a shipped one, a converted folder, or a published checkpoint of the hub."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from mist_jax.errors import UserError
from mist_jax.policy.architectures import ARCHITECTURES
from mist_jax.policy.checkpoint import (
    STATISTICS,
    TOKENIZER,
    PolicyCard,
    is_policy,
    read_card,
    restore_parameters,
)
from mist_jax.policy.dtypes import FLOAT8
from mist_jax.policy.model import PolicyModel
from mist_jax.policy.policy import Policy
from mist_jax.policy.preprocessing.preprocessor import Preprocessor
from mist_jax.policy.run_form import run_form

_SHIPPED = Path(__file__).parent / "checkpoints"
MIST_NANO_FOLDER = _SHIPPED / "mist-nano"


def load_policy(
    name: str | Path,
    *,
    dtype: DTypeLike | None = None,
    mesh: Mesh | None = None,
    parallel: Literal["tensor", "tokens"] = "tensor",
    unnorm_key: str | None = None,
    verify: bool = True,
    unrolled: bool | None = None,
    architectures: Mapping[str, type[PolicyModel]] = ARCHITECTURES,
) -> Policy:
    """A policy by name: a shipped one, a converted folder, or a published checkpoint's hub id.

    Args:
        name: what to load; a hub id is downloaded and converted once, into the cache.
        dtype: of the parameters and the computation; default as stored (float32 on the CPU).
            "float8": weights of the large products in e4m3, all others in bfloat16.
        mesh: devices that answer a query together; default the first device alone.
        parallel: `tensor`: each device has a part of the parameters; `tokens`: each has all, and
            a part of the tokens, which is faster where the parameters fit.
        unnorm_key: which data set's statistics, where the checkpoint has several.
        verify: compare the parameters with their digest: some 20 s for a 7B policy.
        unrolled: whether the loop over the layers is unrolled: no copies of weights, a longer
            compilation; default: on a GPU. Tapping other tokens than the action's at the last
            layer then changes the action's last digits.
        architectures: by the name in the policy's config.json; add your own.

    Raises:
        UserError: no such policy, or a damaged one; an architecture that cannot do it; `tokens`
            without a mesh.
    """
    folder = find_policy(str(name))
    card = read_card(folder, architectures)
    if parallel not in ("tensor", "tokens"):
        raise UserError(f"parallel={parallel!r}: valid ones are tensor, tokens")
    if parallel == "tokens":
        if mesh is None:
            raise UserError("parallel='tokens' is over devices: give a mesh")
        card = dataclasses.replace(card, model=card.model.spread_over(mesh))
    if dtype is None and card.dtype != FLOAT8 and jax.default_backend() == "cpu":
        dtype = jnp.float32
    preprocessor = Preprocessor.of(
        card.model.preprocessing, folder / STATISTICS, folder / TOKENIZER, unnorm_key=unnorm_key
    )
    _check_statistics(folder, card, preprocessor)
    parameters = restore_parameters(folder, card, dtype=dtype, mesh=mesh, verify=verify)
    return Policy(card, run_form(card.model, parameters, unrolled=unrolled), preprocessor)


def _check_statistics(folder: Path, card: PolicyCard, preprocessor: Preprocessor) -> None:
    found = preprocessor.statistics
    for what, bounds, wanted in (
        ("action", found.action, card.model.action_dim),
        ("proprio", found.proprio, card.model.preprocessing.proprio_dim),
    ):
        length = 0 if bounds is None else len(bounds)
        if wanted and length != wanted:
            raise UserError(
                f"{folder / STATISTICS}: the {what} statistics of {found.key!r} have {length} "
                f"numbers, the policy has {wanted}; take those it was trained with"
            )


def shipped_policies() -> tuple[str, ...]:
    """Names of the policies that come with this package, such as `mist-nano`."""
    return tuple(sorted(folder.name for folder in _SHIPPED.iterdir() if is_policy(folder)))


def find_policy(name: str) -> Path:
    """The folder a policy's name means."""
    if name in shipped_policies():
        return _SHIPPED / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not is_policy(folder) and (folder / "model.safetensors.index.json").is_file():
            raise UserError(
                f"{folder} is a published checkpoint; convert it first: python -m "
                f"experiments.convert_weights --hf_checkpoint={folder} --output_dir=FOLDER"
            )
        return folder
    from mist_jax.weights.hub import policy_from_hub

    return policy_from_hub(name)
