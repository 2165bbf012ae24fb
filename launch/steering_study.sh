#!/usr/bin/env bash
# The registered study of causal steering, of one suite: the choice on tuning scenes, its plan and
# preregistration, then the study scenes, once; each prints its summary. Needs a risk head and a bank
# of pushes (launch/steering_banks.sh makes them). Simulators are the limit, so give it cores.
#
#   launch/steering_study.sh [--help] [--dry_run] [FLAG ...]
#
# FLAGs are for the steps that simulate, each as --NAME=VALUE, such as --assets=lite --num_workers=16
# --batch_size=16. --dry_run prints the commands. Variables of the environment:
#
#   SUITE=spatial          or object: libero_SUITE_cluttered, and its policy
#   RUN=runs/steering-study                   folder of all results
#   HEAD=RUN/SUITE-risk    the risk head      BANK=RUN/SUITE-bank    the pushes, and what to want
#   NAME=SUITE             of this choice: RUN/NAME-tuning, RUN/NAME-plan, RUN/NAME-study
#   INTENT=toward_expert   what is wanted     PUSH=linear            the form of the pushes
#   COEFFICIENT=0.3        metres a chunk     ROTATION=0             radians a chunk
#   BRAKE=0                share of the own motion against it that is taken away as well
#   HALT=0                 share of the own motion across it that is taken away as well
#   GATE=0.1               risk from which a motion alarms; empty: as the head was calibrated
#   RELEASE=0 HOLD=1       alarms in a row after which a push lets go (0: never), and the share of
#                          GATE that risk must fall to for an alarm to end
#   TUNING=1220-1224       tuning scenes of each task, which neither head nor bank has met: a range,
#                          or as many of the pool as tuning:20 says
#   ARMS=none,action_edit,placebo,flipped,mist              on tuning scenes
#   STUDY_ARMS=none,action_edit,placebo,flipped,mist        registered for the study scenes
#   FIRST=none,placebo,mist                   of these, those that are run before the others
#   STUDY_FLAGS=           more flags for the study alone, such as --save_video=all
#   STEPS="tune plan study"                   which of them; to try a choice: STEPS=tune
#   PYTHON=.venv/bin/python
#
# Run again, it goes on where it stopped, and what is registered stays so: a study that differs from
# its plan is refused. A tuning that is to be another one needs another NAME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == --help ]]; then sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit; fi
. launch/dry_run.sh

SUITE=${SUITE:-spatial}
case $SUITE in
  spatial) MODEL=mist-nano ;;
  object) MODEL=mist-nano-object ;;
  *) echo "steering_study: SUITE is spatial or object, not $SUITE" >&2; exit 1 ;;
esac
RUN=${RUN:-runs/steering-study} NAME=${NAME:-$SUITE} PYTHON=${PYTHON:-.venv/bin/python}
HEAD=${HEAD:-$RUN/$SUITE-risk} BANK=${BANK:-$RUN/$SUITE-bank}
ARMS=${ARMS:-none,action_edit,placebo,flipped,mist}
STUDY_ARMS=${STUDY_ARMS:-none,action_edit,placebo,flipped,mist}
PLAN=$RUN/$NAME-plan
CHOICE=(--intent="${INTENT:-toward_expert}" --push="${PUSH:-linear}"
  --coefficient="${COEFFICIENT:-0.3}" --rotation_coefficient="${ROTATION:-0}"
  --brake="${BRAKE:-0}" --halt="${HALT:-0}" --release="${RELEASE:-0}" --hold="${HOLD:-1}")
GATE=${GATE-0.1}
if [[ $GATE ]]; then CHOICE+=(--risk_threshold="$GATE"); fi
TUNING=${TUNING:-1220-1224}
if [[ $TUNING =~ ^([0-9]+)-([0-9]+)$ ]]; then
  SCENES=$((BASH_REMATCH[2] - BASH_REMATCH[1] + 1))
elif [[ $TUNING =~ ^tuning:([0-9]+)$ ]]; then
  SCENES=${BASH_REMATCH[1]}
else
  echo "steering_study: TUNING is as 1200-1209 or tuning:20, not $TUNING" >&2
  exit 1
fi
for step in ${STEPS:=tune plan study}; do
  [[ $step == @(tune|plan|study) ]] ||
    { echo "steering_study: STEPS are tune, plan and study, not $step" >&2; exit 1; }
done

# evaluate FOLDER FLAG ...: arms by the head and the bank
evaluate() {
  run "$PYTHON" -m experiments.run_evaluation --model_name="$MODEL" --risk_head="$HEAD" \
    --causal_bank="$BANK" --output_dir="$RUN/$NAME-$1" "${@:2}"
}
tune() {
  evaluate tuning --env="libero_${SUITE}_cluttered" --interventions="$ARMS" --render=fast \
    --initial_states="$TUNING" --n_episodes="$SCENES" --sites= "${CHOICE[@]}" "$@"
}
plan() {
  [[ -e $PLAN/preregistration.json ]] ||
    run "$PYTHON" -m experiments.plan_study --tuning="$RUN/$NAME-tuning" \
      --interventions="$STUDY_ARMS" --output_dir="$PLAN"
}
study() {
  local arms flag flags=() more
  for flag; do  # these are registered
    [[ $flag == --@(batch_size|dtype)=* ]] || flags+=("$flag")
  done
  read -ra more <<<"${STUDY_FLAGS:-}"
  for arms in "${FIRST-none,placebo,mist}" "$STUDY_ARMS"; do
    [[ -z $arms ]] || evaluate study --preregistration="$PLAN/preregistration.json" --sites= \
      --interventions="$arms" "${flags[@]}" "${more[@]}"
  done
  $dry_run || printf 'Report: %s\n' "$RUN/$NAME-study/report.html"
}

for step in $STEPS; do
  case $step in
    plan) plan ;;
    *) "$step" "$@" ;;
  esac
done
