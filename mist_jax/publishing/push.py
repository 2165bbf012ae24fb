"""A package becomes a commit of a repository of the Hugging Face hub, as a whole or not at all."""

from typing import Any, Protocol

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of this version's HTTP library  # pyright: ignore[reportPrivateImportUsage]
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from mist_jax.errors import UserError
from mist_jax.publishing.package import CARD, Package
from mist_jax.weights.hub import HUB_ID

_ANYBODYS = (CARD, ".gitattributes", "LICENSE", "LICENSE.md", "LICENSE.txt")
_UNAUTHORISED = (401, 403)


class Hub(Protocol):
    """What is asked of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, **options: Any) -> Any: ...
    def list_repo_files(self, repo_id: str, **options: Any) -> list[str]: ...
    def create_commit(self, repo_id: str, operations: Any, **options: Any) -> Any: ...


def push(package: Package, repo_id: str, hub: Hub, *, private: bool = False) -> str:
    """Makes the repository, where there is none, hold the package; returns the commit's address.

    One commit brings all files and takes away those of an earlier push that are no longer part of
    it: an upload that breaks off changes nothing that others see, and what was sent is not sent
    again by the same call.

    Raises:
        UserError: the repository holds what is no package of this kind, nobody is logged in or may
            write there, or the hub cannot be reached.
    """
    check_repo_id(repo_id)
    kind = package.kind
    try:
        hub.create_repo(repo_id, repo_type=kind.repo_type, private=private, exist_ok=True)
        there = hub.list_repo_files(repo_id, repo_type=kind.repo_type)
        foreign = [name for name in there if name not in _ANYBODYS and not kind.takes(name)]
        if foreign:
            raise UserError(
                f"{repo_id} holds {foreign[0]}, which is no file of a {kind.name}: name a new "
                "repository"
            )
        adds = [CommitOperationAdd(name, content) for name, content in package.files.items()]
        stale = [name for name in there if kind.takes(name) and name not in package.files]
        commit = hub.create_commit(
            repo_id,
            [*adds, *map(CommitOperationDelete, stale)],
            repo_type=kind.repo_type,
            commit_message=f"{kind.name} by mist_jax",
        )
    except LocalTokenNotFoundError as error:
        raise UserError("nobody is logged in to the hub: run `hf auth login` first") from error
    except HFValidationError as error:
        raise UserError(f"--repo_id={repo_id}: {' '.join(str(error).split())}") from error
    except OfflineModeIsEnabled as error:
        raise UserError("the hub is switched off (HF_HUB_OFFLINE): unset it to push") from error
    except (HfHubHTTPError, HTTPError, ConnectionError) as error:
        if getattr(getattr(error, "response", None), "status_code", 0) in _UNAUTHORISED:
            raise UserError(
                f"the hub lets nobody write to {repo_id} with this login: run `hf auth login` with "
                "a token that may write, or name a repository of your own"
            ) from error
        reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise UserError(
            f"the push to {repo_id} broke off ({reason}); nothing of it can be seen there: run the "
            "same command again"
        ) from error
    return str(getattr(commit, "commit_url", commit))


def check_repo_id(repo_id: str) -> None:
    """Raises UserError where this is no name of a repository."""
    if not HUB_ID.fullmatch(repo_id):
        raise UserError(f"--repo_id={repo_id}: give user/name, such as lab/mist-nano-risk")
