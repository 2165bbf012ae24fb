"""`mist-jax COMMAND FLAGS`: every command by its name, wherever the package is installed."""

import ast
import difflib
import importlib
import sys
from pathlib import Path

from mist_jax import commands
from mist_jax.commands.start import binary
from mist_jax.commands.start.help import ASKED


def commands_by_name() -> dict[str, str]:
    """Every command and the first line of what it says of itself, without importing any."""
    folder = Path(commands.__path__[0])
    files = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
    return {path.stem: _first_line(path) for path in files}


def main() -> None:
    """Runs the command that the first word names; lists them all where it names none."""
    known = commands_by_name()
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 and sys.argv[1] not in ASKED else ""
    if not name:
        print(_listing(known))
        sys.exit(0 if sys.argv[1:] else 1)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        print(f"mist-jax: there is no command {sys.argv[1]!r}: {advice}", file=sys.stderr)
        sys.exit(1)
    sys.argv = [name, *sys.argv[2:]]
    binary.run(importlib.import_module(f"mist_jax.commands.{name}"))


def _listing(known: dict[str, str]) -> str:
    width = max(map(len, known))
    rows = (f"  {name:<{width}}  {line}" for name, line in known.items())
    return "\n".join(
        ("usage: mist-jax COMMAND --FLAG=VALUE ...   (mist-jax COMMAND --help)", "", *rows)
    )


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())
