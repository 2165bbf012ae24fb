"""The datasets that a command is given: that they are there, and keep what it reads."""

from collections.abc import Sequence
from pathlib import Path

from mist_jax.commands.flags.folders import folder_of
from mist_jax.episodes.dataset_info import load_info
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.intervention.site import DEFAULT_SITE


def data_folders(values: Sequence[str]) -> tuple[Path, ...]:
    """The folders of a `--data_dir`, comma separated as typed.

    Raises:
        UserError: one is not there.
    """
    folders = tuple(folder_of(value) for value in values)
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        raise UserError(f"--data_dir: there is no folder {absent[0]}")
    return folders


def folders_to_learn_from(values: Sequence[str]) -> tuple[Path, ...]:
    """`data_folders` of which no episode is of a scene to report on.

    Raises:
        UserError: one is, a folder is not there or is no dataset.
    """
    from mist_jax.episodes.index import read_indices
    from mist_jax.evaluation.study.opening import check_learning

    folders = data_folders(values)
    for entries in read_indices(folders).values():
        check_learning(entry.key for entry in entries)
    return folders


def sites_to_read(folders: Sequence[Path], asked: Sequence[str]) -> tuple[str, ...]:
    """The sites `asked` for, or all that every one of the datasets keeps, the default one first.

    Raises:
        UserError: there is no dataset, or one lacks a site that is asked for or keeps none.
    """
    for site in asked:
        check_stored(folders, site)
    if asked:
        return tuple(dict.fromkeys(asked))
    kept = [list(load_info(folder).sites) for folder in folders]
    common = [site for site in kept[0] if all(site in sites for sites in kept)]
    if not common:
        check_stored(folders, DEFAULT_SITE)  # says what is there
        raise UserError("--data_dir: the datasets keep no site in common; name --sites")
    return tuple(sorted(common, key=lambda site: site != DEFAULT_SITE))


def check_stored(folders: Sequence[Path], site: str, layers: str = "all") -> None:
    """Makes sure that datasets keep activations of these layers, before an episode is read.

    Raises:
        UserError: there is no dataset, it keeps other sites, or other layers.
    """
    for data in folders:
        _check_stored(data, site, layers)


def _check_stored(data: Path, site: str, layers: str) -> None:
    sites = load_info(data).sites
    if site not in sites:
        kept = ", ".join(sites) or "none"
        raise UserError(f"--site: {data} keeps no activations of {site!r}; stored sites: {kept}")
    stored = sites[site].layers
    asked = stored if layers == "all" else parse_ids(layers, max(stored, default=-1) + 1, "layer")
    missing = [layer for layer in asked if layer not in stored]
    if missing:
        raise UserError(
            f"--layers: layers {missing} of {site} are not in {data}, which holds {list(stored)}"
        )
