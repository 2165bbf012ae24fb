#!/usr/bin/env bash
# The study of causal steering: two policies among obstacles, pushed off what they are about to hit.
# Jacobians from pictures of 30 episodes, branches of risky states, what to want, a choice on tuning
# scenes; then, registered before, the study scenes, once. Goes on from launch/risk_study.sh, whose
# episodes it learns alarms from. Simulators are the limit, so give it cores.
#
#   launch/steering_study.sh [FLAG ...]     flags for every step that simulates, each as --NAME=VALUE:
#                                           those of launch/risk_study.sh, such as --assets=lite
#                                           --num_workers=16 --batch_size=16
#
# Run again, it goes on where it stopped; what is learnt or registered is not made twice. Delete its
# folder in runs/steering-study to make it anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RISK=runs/risk-study RUN=runs/steering-study
# What opens gates (risk is read up to one layer), the layer after it that pushes, and what is wanted
# at an alarm: intent, metres and radians over a chunk, from which risk on (default: as calibrated).
# Chosen on tuning scenes.
readonly DETECTOR="head" READ_UP_TO=2 PUSH_AT=3
readonly SPATIAL=(--intent=against_motion --push=linear --coefficient=0.1
  --rotation_coefficient=0 --risk_threshold=0.1)
readonly OBJECT=("${SPATIAL[@]}")
readonly ARMS=none,placebo,mist
readonly STUDY_ARMS=none,action_edit,noise,placebo,flipped,mist

run() { .venv/bin/python -m "experiments.$1" "${@:2}"; }
# once RESULT NAME FLAG ...: unless the result is there.
once() { [[ -e $RUN/$1 ]] || run "${@:2}"; }
# learn NAME MODEL SUITE FLAG ...: pictures for the Jacobians, and the risk head that opens gates
learn() {
  run collect_failure_data --model_name="$2" --env="$3" --initial_states=tuning:3 --n_success=3 \
    --n_failure=3 --max_attempts_per_task=3 --images=query --render=fast --layers=2-3,5 \
    --sites=llm.resid,llm.resid:image,llm.resid:proprio --activation_dtype=float16 \
    --save_dir="$RUN/$1-pictures" "${@:4}"
  once "$1-risk/risk_head" train_risk_predictor --data_dir="$RISK/$1" --detector="$DETECTOR" \
    --detectors="clock,task x clock,state + action + task + motion" --max_layer=$READ_UP_TO \
    --output_dir="$RUN/$1-risk"
}
# bank NAME MODEL FLAG ...: the pushes, what they do, and what to want
bank() {
  once "$1-bank/causal_bank" extract_steering_vectors --model_name="$2" --methods= \
    --data_dir="$RUN/$1-pictures,$RISK/$1" --causal_layers=$PUSH_AT \
    --output_dir="$RUN/$1-bank" "${@:3}"
}
# evaluate NAME MODEL FOLDER FLAG ...: arms by the head and the bank
evaluate() {
  run run_evaluation --model_name="$2" --risk_head="$RUN/$1-risk" --causal_bank="$RUN/$1-bank" \
    --output_dir="$RUN/$3" "${@:4}"
}
# study NAME MODEL FLAG ...: registers what was tuned, and runs that on scenes that nothing has met
study() {
  local flags=() flag plan="$1-plan/preregistration.json"
  once "$plan" plan_study --tuning="$RUN/$1-tuning" --interventions="$STUDY_ARMS" \
    --output_dir="$RUN/$1-plan"
  for flag in "${@:3}"; do  # the batch size is registered
    [[ $flag == --batch_size=* ]] || flags+=("$flag")
  done
  evaluate "$1" "$2" "$1-study" --preregistration="$RUN/$plan" "${flags[@]}"
}

learn spatial mist-nano libero_spatial_cluttered "$@"
run collect_branches --data_dir="$RISK/spatial" --model_name=mist-nano --forks_per_episode=2 \
  --max_forks=300 --offset_size=0.1 --branch_queries=2 --render=fast --layers=2-3,5 \
  --activation_dtype=float16 --save_dir="$RUN/spatial-branches" "$@"
bank spatial mist-nano --branches="$RUN/spatial-branches"
evaluate spatial mist-nano spatial-tuning --env=libero_spatial_cluttered --interventions="$ARMS" \
  --initial_states=tuning:20 --n_episodes=20 --render=fast "${SPATIAL[@]}" "$@"
study spatial mist-nano "$@"

learn object mist-nano-object libero_object_cluttered "$@"
bank object mist-nano-object
evaluate object mist-nano-object object-tuning --env=libero_object_cluttered \
  --interventions="$ARMS" --initial_states=tuning:20 --n_episodes=20 --render=fast \
  "${OBJECT[@]}" "$@"
study object mist-nano-object "$@"
printf 'Reports: %s\n' "$RUN"/*-study/report.html
