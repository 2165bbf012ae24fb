# Sourced by the launchers: reads a first --dry_run, under which `run` prints instead of running.
dry_run=false
if [[ ${1:-} == --dry_run ]]; then dry_run=true; shift; fi

run() {
  if $dry_run; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}
