"""Modules that add rows to the tables that names are looked up in."""

import os

from absl import flags

from mist_jax.errors import UserError
from mist_jax.extensions import VARIABLE, named_modules
from mist_jax.simulator.libero.suites import suites

EXTENSIONS = flags.DEFINE_list(
    "extensions",
    list(named_modules()),
    "Importable modules that add rows to tables, such as my_lab.kitchen (docs/extending.md); "
    f"default: those that {VARIABLE} names.",
)


@flags.validator("extensions")
def _extend(names: list[str] | None) -> bool:
    # The processes that this one starts look the same rows up.
    os.environ[VARIABLE] = ",".join(names or ())
    try:
        suites()
    except UserError as error:
        raise flags.ValidationError(str(error)) from error
    return True
