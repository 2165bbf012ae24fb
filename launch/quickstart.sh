#!/usr/bin/env bash
# Installs mist_jax and runs the main job with the shipped policy: collect -> train risk ->
# extract steering -> evaluate -> runs/quickstart/evaluation/report.html. CPU only, no question.
#
#   launch/quickstart.sh [FLAG ...]     flags for every step that simulates, such as --assets=lite
#
# Run again, it goes on where it stopped; delete runs/quickstart to start afresh. To be quick, only
# some of the detectors are fitted beside the head, and SAFE for 50 epochs (its own number is 1000).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RUN=runs/quickstart
launch/install.sh

start=$SECONDS
step() {
  printf '\n== %s (%d:%02d)\n' "$1" $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60))
  .venv/bin/python -m "experiments.$2" "${@:3}"
}
# learn RESULT TITLE NAME FLAG ...: unless it was learnt from the episodes that are there.
learn() {
  if [[ $RUN/$1 -nt $RUN/episodes/episodes.jsonl ]]; then
    printf '\n== %s: done before\n' "$2"
  else
    step "${@:2}"
  fi
}
simulated=(--model_name=mist-nano --env=libero_spatial --task_ids=3,4,7,9 --render=fast "$@")

step "1/4 Episodes with their contacts" collect_failure_data "${simulated[@]}" \
  --initial_states=0-19 --perturbation=mixed --perturbation_length=10,20 \
  --perturbation_strength=0.3,1.0 --n_success=5 --n_failure=5 --max_attempts_per_task=10 \
  --images=query --sites=llm.resid,llm.resid:image,llm.resid:proprio --save_dir=$RUN/episodes
learn risk/metrics.json "2/4 Risk: which motion is about to cause harm (a few detectors, SAFE short)" \
  train_risk_predictor --data_dir=$RUN/episodes --output_dir=$RUN/risk \
  --detectors="clock,state,SAFE-LSTM,SAFE-LSTM on contacts" --safe_epochs=50 --max_layer=3
# Risk is read up to layer 3, so that pushes at layer 4 can listen to it.
learn steering/causal_bank/metadata.json "3/4 Steering: pushes that change the action as is wanted" \
  extract_steering_vectors --data_dir=$RUN/episodes --methods=contrast --layers=4 \
  --effect_states=40 --causal_layers=4 --causal_states=100 --causal_measured=8 \
  --output_dir=$RUN/steering
# mist-nano was trained on initial states 0-29.
step "4/4 Evaluation on initial states that nothing was trained on" run_evaluation "${simulated[@]}" \
  --risk_head=$RUN/risk --causal_bank=$RUN/steering \
  --interventions=none,safe_stop,placebo,mist --initial_states=30-34 --n_episodes=2 \
  --output_dir=$RUN/evaluation

printf '\nDone in %d min %d s. Open %s\n' $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)) \
  "$PWD/$RUN/evaluation/report.html"
