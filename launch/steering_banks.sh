#!/usr/bin/env bash
# What the study of causal steering needs, of two policies among obstacles: the risk heads that open
# gates, pictures of 30 episodes, Jacobians from them, branches of risky states, 700 episodes of each
# policy with what the expert would have done instead, and what to want.
# Goes on from launch/risk_study.sh, whose episodes it learns from; launch/steering_study.sh goes on
# from here. Simulators are the limit, so give it cores.
#
#   launch/steering_banks.sh [FLAG ...]     flags for every step that simulates, each as --NAME=VALUE:
#                                           those of launch/risk_study.sh, such as --assets=lite
#                                           --num_workers=16 --batch_size=16
#
# Run again, it goes on where it stopped; what is learnt is not made twice. Delete its folder in
# runs/steering-study to make it anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RISK=runs/risk-study RUN=runs/steering-study
# What opens gates (risk is read up to one layer), and the layer after it that pushes.
readonly DETECTOR="head" READ_UP_TO=2 PUSH_AT=3

run() { .venv/bin/python -m "experiments.$1" "${@:2}"; }
# once RESULT NAME FLAG ...: unless the result is there.
once() { [[ -e $RUN/$1 ]] || run "${@:2}"; }
# learn NAME MODEL SUITE FLAG ...: pictures for the Jacobians, the expert's corrections, and the risk
# head that opens gates
learn() {
  run collect_failure_data --model_name="$2" --env="$3" --initial_states=tuning:3 --n_success=3 \
    --n_failure=3 --max_attempts_per_task=3 --images=query --render=fast --layers=2-3,5 \
    --sites=llm.resid,llm.resid:image,llm.resid:proprio --activation_dtype=float16 \
    --save_dir="$RUN/$1-pictures" "${@:4}"
  # Another seed than the risk study's: the same scenes, and episodes that are no doubles of its own.
  run collect_failure_data --model_name="$2" --env="$3" --initial_states=tuning --n_success=70 \
    --n_failure=70 --max_attempts_per_task=70 --expert_labels --render=fast --layers=2-3,5 --seed=1 \
    --sites=llm.resid,llm.resid:image,llm.resid:proprio --activation_dtype=float16 \
    --save_dir="$RUN/$1-labels" "${@:4}"
  once "$1-risk/risk_head" train_risk_predictor --data_dir="$RISK/$1" --detector="$DETECTOR" \
    --detectors="clock,task x clock,state + action + task + motion" --max_layer=$READ_UP_TO \
    --output_dir="$RUN/$1-risk"
}
# bank NAME MODEL FLAG ...: the pushes, what they do, and what to want
bank() {
  once "$1-bank/causal_bank" extract_steering_vectors --model_name="$2" --methods= \
    --data_dir="$RUN/$1-pictures,$RUN/$1-labels,$RISK/$1" --causal_layers=$PUSH_AT \
    --output_dir="$RUN/$1-bank" "${@:3}"
}

learn spatial mist-nano libero_spatial_cluttered "$@"
run collect_branches --data_dir="$RISK/spatial" --model_name=mist-nano --forks_per_episode=2 \
  --max_forks=300 --offset_size=0.1 --branch_queries=2 --render=fast --layers=2-3,5 \
  --activation_dtype=float16 --save_dir="$RUN/spatial-branches" "$@"
bank spatial mist-nano --branches="$RUN/spatial-branches"
learn object mist-nano-object libero_object_cluttered "$@"
bank object mist-nano-object
printf 'Heads and banks: %s\n' "$RUN"/*-risk "$RUN"/*-bank
