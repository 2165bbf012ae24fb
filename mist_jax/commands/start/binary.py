"""How every command starts and ends: one clear line for the user, a traceback for a bug only."""

import errno
import functools
import io
import logging
import math
import os
import shlex
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

from mist_jax.commands.start.help import ASKED, help_text
from mist_jax.errors import UserError

INTERRUPTED = 130
# Commands that find what an earlier run of them has done; the others begin anew.
GO_ON = {
    "collect_branches",
    "collect_failure_data",
    "convert_weights",
    "push_to_hub",
    "run_evaluation",
    "sample_scenes",
    "train_policy",
}
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    # A file where a folder should be, or the other way round.
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)


def run(command: ModuleType) -> None:
    """Parses the flags of a module, calls its `main()` and exits.

    Status 0 on success, 1 after one line for bad input (`UserError`, a bad flag, a disk that
    refuses), 130 after Ctrl-C. Any other exception is a bug and keeps its traceback.
    """
    _quieten()
    for stream in (sys.stdout, sys.stderr):  # whatever the locale, and names that are no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app.run(lambda _: _guarded(command), flags_parser=functools.partial(parse_flags, command))


def command_line() -> str:
    """The command line of this process, as a user would type it again."""
    given = [os.fsencode(word).decode("utf-8", "backslashreplace") for word in sys.argv[1:]]
    return shlex.join([*_program(), *given])


def print_table(table: Table) -> None:
    """Prints a table as wide as the terminal, or wide enough where there is none."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    console.print(table)


def _program() -> list[str]:
    """The words that started this command: its file under experiments/, or its name."""
    spec = sys.modules["__main__"].__spec__
    if spec is not None and spec.name.startswith("experiments."):
        return ["python", "-m", spec.name]
    return ["mist-jax", Path(sys.argv[0]).stem]


def _guarded(command: ModuleType) -> None:
    # It loads JAX, which help and a refused flag need not wait for.
    from mist_jax.compiled_programs import keep_compiled_programs

    keep_compiled_programs()
    try:
        command.main()
    except KeyboardInterrupt:
        name = command.__name__.rpartition(".")[2]
        kept = "; what was finished is kept, and the same command goes on from there"
        _say(f"interrupted{kept if name in GO_ON else ''}")
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


def parse_flags(command: ModuleType, argv: list[str]) -> list[str]:
    """The words of a command line that are no flags; the flags get their values.

    Exits with status 0 where help is asked for, with 1 and one line where a flag is bad.
    """
    if ASKED & set(argv[1:]):
        print(help_text(command, " ".join(_program())), end="")
        sys.exit(0)
    try:
        left = flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(error)
    except Exception as error:  # a --config is a program, and may lack any field
        _refuse(f"--config: {type(error).__name__}: {error}")
    if len(left) > 1:
        _refuse(f"unexpected argument {left[1]!r}")
    _check_obeyed(command)
    _check_finite()
    return left


def _check_obeyed(command: ModuleType) -> None:
    """Refuses flags of modules that the command shares with others and that have no say in it."""
    obeyed = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(command)}
    for module, members in flags.FLAGS.flags_by_module_dict().items():
        for flag in members if module.startswith("mist_jax.") else ():
            if flag.present and flag.name not in obeyed and "." not in flag.name:
                _refuse(f"--{flag.name} has no say here; --help tells the flags that have")


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
