"""Modules of others that add rows to this project's tables, named in MIST_EXTENSIONS.

An environment variable, because it reaches every process of a run: simulator workers and decoders
import mist_jax afresh and look the same rows up by the names that episodes carry.
"""

import functools
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mist_jax.errors import UserError

VARIABLE = "MIST_EXTENSIONS"
Row = TypeVar("Row")


def named_modules() -> tuple[str, ...]:
    """The modules that MIST_EXTENSIONS names, comma separated: each importable, as `package.x`."""
    names = os.environ.get(VARIABLE, "").split(",")
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def extension_rows(table: str, kind: type[Row]) -> tuple[Row, ...]:
    """The rows that the named modules add to a table, such as `SUITES`, in their order.

    A module without that attribute adds none.

    Raises:
      UserError: a module cannot be imported, or its attribute is no tuple of `kind`.
    """
    return tuple(row for name in named_modules() for row in _rows_of(name, table, kind))


class Table(Mapping[str, Row]):
    """Rows by name: this project's, then those that the named modules add.

    Looked up afresh at every access, so that it does not matter when a module is named.
    """

    def __init__(self, name: str, kind: type[Any], rows: Iterable[Row]):
        self._name, self._kind, self._own = name, kind, tuple(rows)

    def __getitem__(self, name: str) -> Row:
        return self._rows()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())

    def _rows(self) -> dict[str, Row]:
        added = extension_rows(self._name, self._kind)
        rows: dict[str, Any] = {row.name: row for row in (*self._own, *added)}  # type: ignore[attr-defined]
        if len(rows) < len(self._own) + len(added):
            names = [row.name for row in (*self._own, *added)]  # type: ignore[attr-defined]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{self._name} has two rows named {twice!r}; rename the extension's")
        return rows


@functools.cache
def _rows_of(module: str, table: str, kind: type[Row]) -> tuple[Row, ...]:
    try:
        found = getattr(importlib.import_module(module), table, ())
    except ImportError as error:
        raise UserError(
            f"the extension {module!r} cannot be imported ({error}): name a module that Python "
            "finds, such as package.module"
        ) from error
    if not isinstance(found, tuple) or not all(isinstance(row, kind) for row in found):
        raise UserError(f"{module}.{table} must be a tuple of {kind.__name__} rows, not {found!r}")
    return found
