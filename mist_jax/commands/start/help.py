"""What `--help` of a command prints: what it does, then its flags, the required ones first."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from types import ModuleType

from absl import flags

ASKED = frozenset(("--help", "-help", "-h", "--h", "-?", "--helpshort", "-helpshort"))
_INDENT = 6
_QUOTES = "'"


def help_text(command: ModuleType, program: str) -> str:
    """The help of a command, as wide as the terminal.

    Args:
        command: Its module: the docstring tells what it does, its key flags are told in groups,
            one for every module that declares some.
        program: How it is started, such as `mist-jax analyze`.
    """
    values = flags.FLAGS
    own, required, others = [], [], {}
    for flag in values.get_key_flags_for_module(command):
        home = values.find_module_defining_flag(flag.name)
        if is_required(flag):
            required.append(flag)
        elif home == command.__name__:
            own.append(flag)
        else:
            others.setdefault(home, []).append(flag)
    lines = [(command.__doc__ or "").rstrip(), "", f"usage: {program} --FLAG=VALUE ...", ""]
    lines += _group("required", required) + _group("flags of this command", own)
    for home in sorted(others):
        title = (sys.modules[home].__doc__ or home).partition("\n")[0].rstrip(".")
        lines += _group(title, others[home])
    return "\n".join(lines).rstrip() + "\n"


def is_required(flag: flags.Flag) -> bool:
    """Whether the flag was declared `required=True`, which absl keeps as a validator alone."""
    message = f"Flag --{flag.name} must have a value other than None."
    return any(validator.message == message for validator in flag.validators)


def _group(title: str, members: Iterable[flags.Flag]) -> list[str]:
    shown = sorted(members, key=lambda flag: flag.name)
    if not shown:
        return []
    lines = [f"{title}:"]
    for flag in shown:
        lines += _told(flag)
    return [*lines, ""]


def _told(flag: flags.Flag) -> list[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}=..."
    default, text = "", " ".join((flag.help or "").split())
    if flag.default not in (None, "", [], False) and not is_required(flag):
        default = f" (default: {str(flag.default_as_str).strip(_QUOTES)})"
    if isinstance(flag, flags.EnumFlag):
        name = f"--{flag.name}={'|'.join(flag.parser.enum_values)}"  # type: ignore[attr-defined]
        text = re.sub(r"^<[^>]*>:?", "", text)  # absl's own listing of them
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 120) - _INDENT, 40)
    lines = textwrap.wrap(f"{text.strip()}{default}", width)
    return [f"  {name}", *(" " * _INDENT + line for line in lines)]
