"""What a dataset of episodes is made of: the sidecar `dataset.json`.

It names everything that must be the same for all episodes of a folder, so that a run can go on only
where it stopped, and so that what is learnt from the folder can say what it was learnt from.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mist_jax.disk import replace_file
from mist_jax.errors import UserError
from mist_jax.fields import check_fields
from mist_jax.record.observation import CAMERAS

INFO_FILE = "dataset.json"

ImageMode = Literal["none", "query", "step"]
ActivationDtype = Literal["float32", "float16"]
Render = Literal["exact", "fast"]
DatasetKind = Literal["collection", "evaluation", "branches"]

EXACT: Render = "exact"  # how pictures are drawn unless `setup` says otherwise

# These may differ between the runs that fill one folder; all else must be equal.
_JOINED = ("suites", "commands", "code_versions")


@dataclass(frozen=True)
class Site:
    """One place of the forward whose activations are kept: which layers, and their width D."""

    layers: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class DatasetInfo:
    """What all episodes of a dataset have in common.

    `model` is the name and hash of what acted, equal to every episode's `model`. `images` says
    where camera pictures are kept: nowhere, where the policy was asked (or would have been), or at
    every step; they are turned as `record/picture.py` says. `batch_size` is how many queries one
    compiled call of the policy answers: the last digits depend on it. `dtype` is what the policy
    computed in, "" where the expert acted. Activations are stored and read in `activation_dtype`.
    `kind` says what the folder is, `setup` what else the episodes of an evaluation or the branches
    depend on, as JSON values. `commands` and `code_versions` list those of all runs that filled the
    folder.
    """

    model: str
    assets: str
    suites: tuple[str, ...]
    sites: Mapping[str, Site] = field(default_factory=dict)
    chunk: int = 8
    camera_res: int = 256
    cameras: tuple[str, ...] = CAMERAS
    images: ImageMode = "none"
    activation_dtype: ActivationDtype = "float32"
    min_force: float = 1.0  # N
    perturbation: str = "none"
    batch_size: int = 1
    dtype: str = ""
    pictures: Literal["turned 180"] = "turned 180"
    kind: DatasetKind = "collection"
    setup: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    code_versions: tuple[str, ...] = ()

    @property
    def render(self) -> Render:
        """How pictures were drawn: the policy saw others where it was otherwise."""
        return self.setup.get("render", EXACT)

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "DatasetInfo":
        """The inverse of `as_json`; KeyError, TypeError or ValueError where it is none."""
        sites = {
            name: Site(tuple(site["layers"]), site["width"])
            for name, site in values["sites"].items()
        }
        if values["pictures"] != DatasetInfo.pictures:
            raise ValueError(f"pictures are {values['pictures']!r}, not {DatasetInfo.pictures!r}")
        lists = {name: tuple(values[name]) for name in (*_JOINED, "cameras")}
        # A text is a sequence of letters too.
        if any(isinstance(values[name], str) for name in lists):
            raise TypeError(f"{' or '.join(lists)} is no list")
        info = DatasetInfo(**{**values, **lists, "sites": sites})
        check_fields(info)
        sizes = [info.chunk, info.camera_res, *(site.width for site in sites.values())]
        if min(sizes) < 1 or any(n < 0 for site in sites.values() for n in site.layers):
            raise ValueError("chunk, camera_res, widths and layers are not negative")
        return info


def load_info(directory: Path) -> DatasetInfo:
    """The description of the dataset in `directory`.

    Raises:
        UserError: there is no dataset, or its `dataset.json` cannot be read.
    """
    return DatasetInfo.from_json(load_sidecar(directory)["info"])


def load_sidecar(directory: Path) -> dict[str, Any]:
    """`dataset.json` as it is: `info`, and `summary` once one was made.

    Raises:
        UserError: there is no dataset, or its `dataset.json` cannot be read.
    """
    path = directory / INFO_FILE
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        DatasetInfo.from_json(sidecar["info"])
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory} holds no episode dataset ({INFO_FILE} is missing); "
            "name a folder that collect_failure_data has written"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); restore it from a copy, or collect the dataset again"
        ) from None
    return sidecar


def save_sidecar(directory: Path, info: DatasetInfo, summary: Mapping[str, Any] | None) -> None:
    """Writes `dataset.json` in one atomic step."""
    sidecar: dict[str, Any] = {"info": info.as_json()}
    if summary is not None:
        sidecar["summary"] = summary
    text = json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n"
    replace_file(directory / INFO_FILE, text.encode())


def continue_dataset(there: DatasetInfo, run: DatasetInfo, directory: Path) -> DatasetInfo:
    """The description of a folder once `run` adds to what is `there`.

    Raises:
        UserError: the run's episodes would not be comparable with those of the folder.
    """
    before, now = _flat(there), _flat(run)
    for name in before | now:
        if name not in _JOINED and before.get(name) != now.get(name):
            raise UserError(
                f"{directory} holds episodes with {name} = {_shown(before.get(name))}, this run "
                f"has {_shown(now.get(name))}; use another folder or the same settings"
            )
    joined = {
        name: tuple(dict.fromkeys((*getattr(there, name), *getattr(run, name)))) for name in _JOINED
    }
    return dataclasses.replace(run, **joined | {"suites": tuple(sorted(joined["suites"]))})


def _flat(info: DatasetInfo) -> dict[str, Any]:
    values = info.as_json()
    return {**values.pop("setup"), **values, "render": info.render}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
