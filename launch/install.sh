#!/usr/bin/env bash
# Installs mist_jax into .venv, which is made if absent; done before, it returns at once.
#
#   launch/install.sh [EXTRA ...]      extras: cuda12, cuda13, tpu, rlds, serve, tensorboard,
#                                  wandb, notebooks, docs, test; none: CPU
#
# PYTHON names the interpreter of a new .venv (default: python3.11, python3.12, python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly STAMP=.venv/mist_jax.installed
# Their dependency lists are longer than what they import, which pyproject.toml names.
readonly SIMULATOR=(robosuite==1.4.0 bddl==1.0.1 hf-libero==0.1.4)
readonly ORACLES=(timm==1.0.31 openpi-client==0.1.2)
readonly GL_CHOICES=("libosmesa6" "libegl1 libegl-mesa0 libgl1-mesa-dri")

say() { printf '%s\n' "$*" >&2; }
fail() { say "install: $*"; exit 1; }

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null; }

# apt_install PACKAGES: where this user may; quiet unless it fails.
apt_install() {
  [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || return 1
  local log
  log=$(mktemp)
  # shellcheck disable=SC2086
  if { apt update && apt install -y --no-install-recommends $1; } >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 3 "$log" >&2
    rm -f "$log"
    return 1
  fi
}

find_python() {
  local name
  for name in ${PYTHON:-python3.11 python3.12 python3}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$name"
      return
    fi
  done
  fail "Python 3.11 or newer was not found (PYTHON names one): apt-get install -y python3 python3-venv"
}

make_venv() {
  local python version
  python=$(find_python)
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    apt_install "$version" || fail "$python cannot make environments: sudo apt-get install -y $version"
  fi
  say "install: making .venv with $("$python" --version)"
  "$python" -m venv .venv
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }

fingerprint() {
  cat pyproject.toml launch/constraints.txt launch/install.sh | sha256sum | cut -d ' ' -f 1
}

installed() {
  local extra
  [[ -f $STAMP && $(head -n 1 "$STAMP") == "$1" ]] || return 1
  for extra in "${@:2}"; do grep -qx "$extra" "$STAMP" || return 1; done
}

can_render() {
  # Fails for a missing library only; in a Python of its own, since a broken driver can crash.
  env -u MUJOCO_GL .venv/bin/python -c \
    'from mist_jax.simulator.environment.rendering import choose_gl; choose_gl(render=True)' >/dev/null 2>&1
}

install_gl() {
  local packages
  for packages in "${GL_CHOICES[@]}"; do
    if apt_install "$packages" && can_render; then return; fi
  done
  fail "off-screen rendering needs a GL library: sudo apt-get install -y ${GL_CHOICES[0]}" \
    "(where that package is gone: ${GL_CHOICES[1]})"
}

extras=("$@")
for extra in "${extras[@]}"; do
  case $extra in
    cuda12 | cuda13 | tpu | rlds | serve | tensorboard | wandb | notebooks | docs | test) ;;
    *) fail "there is no extra '$extra': valid ones are cuda12, cuda13, tpu, rlds, serve," \
      "tensorboard, wandb, notebooks, docs, test" ;;
  esac
done

[[ -x .venv/bin/python ]] || make_venv
stamp=$(fingerprint)
if ! installed "$stamp" "${extras[@]}"; then
  # What was asked for before stays.
  if [[ -f $STAMP ]]; then
    mapfile -t extras < <(printf '%s\n' "${extras[@]}" "$(tail -n +2 "$STAMP")" | sort -u | sed '/^$/d')
  fi
  list=$(IFS=,; printf '%s' "${extras[*]}")
  say "install: installing mist_jax${list:+[$list]} and what it needs into .venv (some minutes)"
  pip install --quiet --use-pep517 --constraint launch/constraints.txt --editable ".${list:+[$list]}"
  alone=("${SIMULATOR[@]}")
  [[ ,$list, == *,test,* ]] && alone+=("${ORACLES[@]}")
  pip install --quiet --use-pep517 --no-deps "${alone[@]}"
  { printf '%s\n' "$stamp" "${extras[@]}"; } >"$STAMP.new"
  mv "$STAMP.new" "$STAMP"
fi
can_render || install_gl
# Tests look at the report in a browser, where there is one.
if [[ " ${extras[*]} " == *" test "* ]] && ! command -v chromium >/dev/null; then
  apt_install "chromium fonts-dejavu-core" ||
    say "install: without Chromium the tests of the report's pages are skipped: sudo apt-get install -y chromium"
fi
