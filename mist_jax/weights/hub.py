"""Published checkpoints from the Hugging Face hub: the files a policy needs, and no others."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of this version's HTTP library  # pyright: ignore[reportPrivateImportUsage]
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from mist_jax.errors import UserError
from mist_jax.policy.checkpoint import CONFIG, PARAMETERS, STATISTICS, TOKENIZER, is_policy
from mist_jax.policy.dtypes import RunDType
from mist_jax.weights.convert import convert_checkpoint

# lora_adapter/ is merged into the shards already: a policy that merges it again does nothing right
FILES = (
    "config.json",
    "preprocessor_config.json",
    "dataset_statistics.json",
    "tokenizer.json",
    "model.safetensors*",
    "model-*.safetensors",
    "*--*checkpoint.pt",
)
IGNORED = ("lora_adapter/*",)
# Of a policy that was converted or trained here, and pushed.
CONVERTED_FILES = (CONFIG, STATISTICS, TOKENIZER, f"{PARAMETERS}/*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def download_checkpoint(hub_id: str, files: Sequence[str] = FILES) -> Path:
    """The folder of a checkpoint in the hub's cache; downloads those of `files` not there.

    Raises:
        UserError: no such checkpoint, or the hub cannot be reached and the cache does not have it.
    """
    if not HUB_ID.fullmatch(hub_id):
        raise UserError(
            f"{hub_id!r} is neither a folder nor a hub id such as "
            "moojink/openvla-7b-oft-finetuned-libero-spatial"
        )
    try:
        return Path(
            snapshot_download(hub_id, allow_patterns=list(files), ignore_patterns=list(IGNORED))
        )
    except GatedRepoError as error:
        raise UserError(f"{hub_id} needs a login: run `hf auth login` first") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"the Hugging Face hub has no {hub_id!r}") from error
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HfHubHTTPError,
        HTTPError,
        ConnectionError,
    ) as error:
        raise UserError(
            f"{hub_id} is not in the cache and the Hugging Face hub cannot be reached; "
            "download it on a machine that is online and give its folder"
        ) from error


def policy_from_hub(hub_id: str, dtype: RunDType = "bfloat16") -> Path:
    """The policy of a hub id, downloaded once into the user's cache.

    One that was pushed from here is taken as it is; a published checkpoint is converted once.

    Raises:
        UserError: as `download_checkpoint` and `convert_checkpoint`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mist_jax"
    folder = cache / "policies" / f"{hub_id.replace('/', '--')}-{dtype}"
    if is_policy(folder):
        return folder
    if is_policy(download_checkpoint(hub_id, (CONFIG,))):
        return download_checkpoint(hub_id, CONVERTED_FILES)
    source = download_checkpoint(hub_id)
    return convert_checkpoint(source, folder, dtype, name=hub_id)
