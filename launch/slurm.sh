#!/usr/bin/env bash
# Runs one binary as a Slurm job: one node, one GPU. The checkout, with its .venv, must be on a file
# system that the nodes share. A job that is preempted or out of time is interrupted two minutes
# before, so that what it has finished is kept; submitted again, it goes on from there.
#
#   launch/slurm.sh [--dry_run] [SBATCH_OPTION ...] -- NAME [FLAG ...]
#   launch/slurm.sh --time=8:00:00 -- run_evaluation --output_dir=runs/evaluation --num_workers=16
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dry_run=false options=()
while (($#)) && [[ $1 != -- ]]; do
  if [[ $1 == --dry_run ]]; then dry_run=true; else options+=("$1"); fi
  shift
done
if (($# < 2)); then
  sed -n 's/^#  *\(launch\/.*\)/usage: \1/p' "$0" >&2
  exit 1
fi
name=$2
[[ -f experiments/$name.py ]] || { echo "slurm: there is no binary experiments/$name.py" >&2; exit 1; }

# The job's script is read by sh, which knows no $'...' as printf %q writes it: quotes alone.
quoted() {
  local word
  for word; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}

# A later option wins, so those of the command line come last. 1 GB per simulator process.
job=(sbatch --job-name="mist-$name" --nodes=1 --ntasks=1 --gpus-per-node=1 --cpus-per-task=16
  --mem=64G --time=24:00:00 --requeue --signal=INT@120 --open-mode=append
  --output="runs/slurm-%j.log" "${options[@]}"
  --wrap="exec srun .venv/bin/python -m experiments.$name $(quoted "${@:3}")")
if $dry_run; then
  printf '%q ' "${job[@]}"
  echo
else
  mkdir -p runs
  "${job[@]}"
fi
