#!/usr/bin/env bash
# The study of risk: two policies among obstacles, every detector on the same folds of scenes and of
# tasks, then once on sealed scenes. 2,800 episodes, 250 MB. Needs the environment of
# launch/install.sh; simulators are the limit, so give it cores.
#
#   launch/risk_study.sh [FLAG ...]     flags for every collection, such as --assets=lite
#                                       --num_workers=16 --batch_size=16
#
# Run again, it goes on where it stopped; delete runs/risk-study to start afresh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RUN=runs/risk-study
run() { .venv/bin/python -m "experiments.$1" "${@:2}"; }
# collect NAME MODEL SUITE POOL EPISODES-PER-TASK FLAG ...
collect() {
  run collect_failure_data --model_name="$2" --env="$3" --initial_states="$4" --n_success="$5" \
    --n_failure="$5" --max_attempts_per_task="$5" --render=fast --layers=2-3,5 \
    --sites=llm.resid,llm.resid:image,llm.resid:proprio,llm.lens --activation_dtype=float16 \
    --save_dir="$RUN/$1" "${@:6}"
}
# study NAME: seen tasks, unseen tasks, then the sealed scenes that nothing was chosen by
study() {
  run train_risk_predictor --data_dir="$RUN/$1" --split=task --output_dir="$RUN/$1-unseen-tasks"
  run train_risk_predictor --data_dir="$RUN/$1" --split=episode --output_dir="$RUN/$1-risk" \
    --beside="$RUN/$1-unseen-tasks"
  run analyze --risk_head="$RUN/$1-risk" --data_dir="$RUN/$1-sealed" \
    --output_dir="$RUN/$1-sealed-risk"
}

collect spatial mist-nano libero_spatial_cluttered tuning 120 "$@"
collect spatial-sealed mist-nano libero_spatial_cluttered sealed 40 "$@"
collect object mist-nano-object libero_object_cluttered tuning 80 "$@"
collect object-sealed mist-nano-object libero_object_cluttered sealed 40 "$@"
study spatial
study object
printf 'Tables: %s\n' "$RUN"/*/table.md
