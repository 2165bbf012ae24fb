#!/usr/bin/env bash
# Installs mist_jax with its test extra, checks style and types, and runs the tests.
#
#   launch/test.sh [PYTEST_ARGUMENT ...]      such as -m "not slow", or tests/test_contacts.py
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

launch/install.sh test || exit 1
PATH="$PWD/.venv/bin:$PATH"

failed=()
check() {
  printf '== %s\n' "$*"
  "$@" || failed+=("$*")
}
# The tests come last, so that their summary ends the output; they run whatever the checks say.
check ruff format --check --quiet .
check ruff check --quiet .
check pyright --warnings
# Two processes, each with whole files: tests of a file share what is compiled.
check python -m pytest -q -n 2 --dist loadfile "$@"

if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
