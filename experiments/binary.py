"""How every binary starts and ends: one clear line for the user, a traceback for a bug only."""

import errno
import io
import logging
import math
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

from mist_jax.compiled_programs import keep_compiled_programs
from mist_jax.episodes.dataset_info import load_info
from mist_jax.errors import UserError
from mist_jax.ids import parse_ids
from mist_jax.intervention.site import DEFAULT_SITE

INTERRUPTED = 130
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    # A file where a folder should be, or the other way round.
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls `main()` and exits.

    Status 0 on success, 1 after one line for bad input (`UserError`, a bad flag, a disk that
    refuses), 130 after Ctrl-C. Any other exception is a bug and keeps its traceback.
    """
    _quieten()
    keep_compiled_programs()
    for stream in (sys.stdout, sys.stderr):  # whatever the locale, and names that are no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app.run(lambda _: _guarded(main), flags_parser=_parse_flags)


def command() -> str:
    """The command line of this process, as a user would type it again."""
    given = [os.fsencode(word).decode("utf-8", "backslashreplace") for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"experiments.{Path(sys.argv[0]).stem}", *given])


def data_folders(values: Sequence[str]) -> tuple[Path, ...]:
    """The folders of a `--data_dir`, comma separated as typed.

    Raises:
        UserError: one is not there.
    """
    folders = tuple(Path(value).expanduser() for value in values)
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        raise UserError(f"--data_dir: there is no folder {absent[0]}")
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


def print_table(table: Table) -> None:
    """Prints a table as wide as the terminal, or wide enough where there is none."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    console.print(table)


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
    except KeyboardInterrupt:
        _say("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(INTERRUPTED)
    except UserError as error:
        _say(str(error))
        sys.exit(1)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        where = f": {error.filename}" if error.filename else ""
        _say(f"{error.strerror}{where}; what was finished is kept")
        sys.exit(1)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        left = flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(error)
    except Exception as error:  # a --config is a program, and may lack any field
        _refuse(f"--config: {type(error).__name__}: {error}")
    if len(left) > 1:
        _refuse(f"unexpected argument {left[1]!r}")
    _check_finite()
    return left


def _check_finite() -> None:
    """Refuses NaN and infinity in every flag and list of numbers; bounds let NaN through."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, float if one is value else (float, str)) and not _finite(one):
                _refuse(f"--{name}: {one} is not a finite number")


def _finite(value: float | str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:  # words
        return True


def _refuse(reason: object) -> NoReturn:
    """Ends the program over a bad flag, with one line."""
    _say(f"{' '.join(str(reason).split())} (--help lists the flags)")
    sys.exit(1)


def _say(message: str) -> None:
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr, flush=True)


def _quieten() -> None:
    # Libraries warn about what a user can neither see nor change; PYTHONWARNINGS brings it back.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
