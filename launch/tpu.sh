#!/usr/bin/env bash
# Runs one binary on a Cloud TPU VM with a single host: makes the VM if absent, copies the committed
# checkout, installs, runs, and fetches runs/. The VM is left on, and billed, until it is deleted.
#
#   launch/tpu.sh [--dry_run] VM ZONE TYPE NAME [FLAG ...]
#   launch/tpu.sh mist europe-west4-b v5litepod-8 run_evaluation --output_dir=runs/evaluation
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. launch/dry_run.sh
if (($# < 4)); then
  sed -n 's/^#  *\(launch\/.*\)/usage: \1/p' "$0" >&2
  exit 1
fi
vm=$1 zone=$2 type=$3 name=$4
[[ -f experiments/$name.py ]] || { echo "tpu: there is no binary experiments/$name.py" >&2; exit 1; }
case $type in
  v6e-*) image=v2-alpha-tpuv6e ;;
  v5litepod-*) image=v2-alpha-tpuv5-lite ;;
  *) image=tpu-ubuntu2204-base ;;
esac

tpu() { run gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$zone" --quiet; }
on_vm() { tpu ssh "$vm" --command="$1"; }

if $dry_run || ! gcloud compute tpus tpu-vm describe "$vm" --zone="$zone" >/dev/null 2>&1; then
  tpu create "$vm" --accelerator-type="$type" --version="$image"
fi
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
run git archive --output="$archive" HEAD
tpu scp "$archive" "$vm:mist_jax.tar.gz"
on_vm "mkdir -p mist_jax && tar -xzf mist_jax.tar.gz -C mist_jax"
on_vm "sudo apt-get -qq update && sudo apt-get -qq install -y libosmesa6 python3.11-venv"
on_vm "mist_jax/launch/install.sh tpu"
on_vm "cd mist_jax && mkdir -p runs && .venv/bin/python -m experiments.$(printf '%q ' "${@:4}")"
tpu scp --recurse "$vm:mist_jax/runs" .
echo "when done: gcloud compute tpus tpu-vm delete $vm --zone=$zone" >&2
