#!/usr/bin/env bash
# A Ray cluster of this machine, which runs the policy, and of HOSTs, which only simulate. Each HOST
# is reached by ssh without a password and has the checkout, with its .venv, at this same path.
# Members of the cluster know each other by the token in runs/ray_token, made here and copied there.
# stop ends every Ray process of this user on these machines.
#
#   launch/ray_cluster.sh [--dry_run] start HOST ...     prints how to run a binary on it
#   launch/ray_cluster.sh [--dry_run] stop HOST ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. launch/dry_run.sh
action=${1:-}
if [[ $action != start && $action != stop ]]; then
  sed -n 's/^#  *\(launch\/.*\)/usage: \1/p' "$0" >&2
  exit 1
fi
readonly PORT=6379 TOKEN=runs/ray_token
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$TOKEN
head=$(hostname -I | cut -d ' ' -f 1)

on_host() { run ssh -o BatchMode=yes "$1" "cd $(printf '%q' "$PWD") && $2"; }
ray_environment="env RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$TOKEN"

if [[ $action == start ]]; then
  if ! $dry_run && [[ ! -s $TOKEN ]]; then
    mkdir -p runs
    (umask 077 && .venv/bin/python -c 'import secrets; print(secrets.token_hex(32))' >$TOKEN)
  fi
  run .venv/bin/ray start --head --node-ip-address="$head" --port=$PORT --include-dashboard=false \
    --disable-usage-stats
  for host in "${@:2}"; do
    # Written beside and renamed: on a shared file system it is the file that is being read.
    on_host "$host" "mkdir -p runs && umask 077 && cat >$TOKEN.new && mv $TOKEN.new $TOKEN" \
      < <(cat $TOKEN 2>/dev/null || true)
    on_host "$host" "$ray_environment .venv/bin/ray start --address=$head:$PORT --disable-usage-stats"
  done
  echo "$ray_environment .venv/bin/python -m experiments.NAME --ray_address=$head:$PORT --num_workers=N"
else
  for host in "${@:2}"; do on_host "$host" "$ray_environment .venv/bin/ray stop"; done
  run .venv/bin/ray stop
fi
