#!/usr/bin/env bash
# Runs a stage on a Ray cluster: sends the code as it is here, and starts acecoder_jax.main on the head with cluster=ray.
#
#   bash launch/ray/submit.sh --address=http://127.0.0.1:8265 -- --config=configs/sample.py --workdir=/runs/sample ...
#
#   --address=URL  of the cluster's dashboard (RAY_API_SERVER_ADDRESS otherwise)
#   --id=NAME      of the job, for `ray job logs NAME` and `ray job stop NAME`
#   --no-wait      return at once
#   --dry-run      prints the command and runs nothing
#
# After `--`: the arguments of acecoder_jax.main. The workdir is a folder that the head sees and keeps. The same command
# goes on where a job has ended. Keys are in the nodes' environment (the cluster files say where), never in the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' launch/ray/submit.sh >&2; exit 2; }

address="${RAY_API_SERVER_ADDRESS:-}" dry=false more=()
while [ $# -gt 0 ]; do
  case "$1" in
    --address=*) address="${1#*=}" ;;
    --id=*) more+=(--submission-id="${1#*=}") ;;
    --no-wait) more+=(--no-wait) ;;
    --dry-run) dry=true ;;
    --) shift; break ;;
    *) echo "error: unknown argument $1" >&2; usage ;;
  esac
  shift
done
[ -n "$address" ] || { echo "error: --address is missing: the URL of the cluster's dashboard" >&2; exit 2; }
[ $# -gt 0 ] || { echo "error: after -- there is nothing: name the arguments of acecoder_jax.main" >&2; exit 2; }
workdir=""
for argument in "$@"; do
  case "$argument" in
    --workdir=*) workdir="${argument#*=}" ;;
    --config.cluster=*) echo "error: $argument: the job runs with cluster=ray" >&2; exit 2 ;;
  esac
done
case "$workdir" in
  /*) ;;
  *) echo "error: name --workdir=/A/FOLDER after --, one that the head keeps" >&2; exit 2 ;;
esac

# What the nodes need besides Ray; each installs it once and keeps it.
environment='{"pip": ["-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/requirements.txt"], "excludes": [".git", ".venv", "runs"]}'
command=(ray job submit --address="$address" "${more[@]}" --working-dir=. --runtime-env-json="$environment"
  -- python -m acecoder_jax.main "$@" --config.cluster=ray)
echo "+ $(printf '%q ' "${command[@]}")" >&2
$dry || exec "${command[@]}"
