#!/usr/bin/env bash
# A Ray cluster of this machine, which runs the policy, and of HOSTs, which only simulate. Each HOST
# is reached by ssh without a password and has the checkout, with its .venv, at this same path. Ray
# has no password: on a trusted network only. stop ends every Ray process of this user there.
#
#   launch/ray_cluster.sh [--dry_run] start HOST ...   then: NAME --ray_address=auto --num_workers=N
#   launch/ray_cluster.sh [--dry_run] stop HOST ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dry_run=false
if [[ ${1:-} == --dry_run ]]; then dry_run=true; shift; fi
action=${1:-}
if [[ $action != start && $action != stop ]]; then
  sed -n 's/^#  *\(launch\/.*\)/usage: \1/p' "$0" >&2
  exit 1
fi
readonly PORT=6379
head=$(hostname -I | cut -d ' ' -f 1)

run() {
  if $dry_run; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}
on_host() { run ssh -o BatchMode=yes "$1" "cd $(printf '%q' "$PWD") && $2"; }

if [[ $action == start ]]; then
  run .venv/bin/ray start --head --node-ip-address="$head" --port=$PORT --include-dashboard=false \
    --disable-usage-stats
  for host in "${@:2}"; do
    on_host "$host" ".venv/bin/ray start --address=$head:$PORT --disable-usage-stats"
  done
else
  for host in "${@:2}"; do on_host "$host" ".venv/bin/ray stop"; done
  run .venv/bin/ray stop
fi
