"""Publishes a policy, a risk head, a steering bank or a dataset on the Hugging Face hub.

    mist-jax push_to_hub --folder=runs/risk --repo_id=lab/mist-nano-risk --dry_run

Only files of a fixed list for each kind are pushed, with a card made of the folder's own metadata.
Log in with `hf auth login`, or set HF_TOKEN. What was pushed is loaded as its card says.
"""

from typing import Any

from absl import flags

from mist_jax.commands.flags.folders import folder_of

_FOLDER = flags.DEFINE_string(
    "folder",
    None,
    "A policy, or what train_risk_predictor, extract_steering_vectors, collect_failure_data, "
    "collect_branches or run_evaluation wrote.",
    required=True,
)
_REPO_ID = flags.DEFINE_string(
    "repo_id", None, "Repository, such as lab/mist-nano-risk; made if need be.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Write the repository to this folder instead of pushing it."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only list what would be pushed, with its card.")
_PRIVATE = flags.DEFINE_bool("private", False, "Make a new repository private.")
_LICENSE = flags.DEFINE_string(
    "license",
    "",
    "Licence's identifier on the hub; default: mit. Weights that others published need theirs.",
)
_VERIFY = flags.DEFINE_bool("verify", True, "Read every file first and compare it with its digest.")

_KEEP_PATHS = flags.DEFINE_bool(
    "keep_paths",
    False,
    "Push a dataset although its preregistration, which cannot be changed, names folders of this "
    "machine.",
)


def main() -> None:
    """Packs the folder; then lists, writes or pushes it."""
    from mist_jax.publishing.package import CARD, pack
    from mist_jax.publishing.push import check_repo_id, push

    check_repo_id(_REPO_ID.value)
    folder = folder_of(_FOLDER.value)
    package = pack(
        folder,
        _REPO_ID.value,
        license=_LICENSE.value,
        verify=_VERIFY.value,
        keep_paths=_KEEP_PATHS.value,
    )
    told = f"{len(package.files)} files of a {package.kind.name}, {package.size() / 1e6:.1f} MB"
    if _DRY_RUN.value:
        card = package.files[CARD]
        print(card.decode() if isinstance(card, bytes) else "")
        print("\n".join(package.files))
        print(f"{told}, would go to {_REPO_ID.value} ({package.kind.repo_type})")
    if _OUTPUT_DIR.value:
        output = folder_of(_OUTPUT_DIR.value)
        package.write(output)
        print(f"{told}: {output}")
    elif not _DRY_RUN.value:
        from huggingface_hub import HfApi

        hub: Any = HfApi()
        print(f"{told}: {push(package, _REPO_ID.value, hub, private=_PRIVATE.value)}")
