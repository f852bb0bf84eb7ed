#!/usr/bin/env bash
# Runs acecoder_jax.main on all workers of a Cloud TPU VM slice: makes the slice or takes the one that is there, copies the
# committed code, installs it with the extra `tpu`, and starts the same command on every worker.
#
#   bash launch/tpu_pod.sh --name=rl --zone=us-east5-a --type=v5p-32 --version=v2-alpha-tpuv5 -- \
#       --config=configs/rl_rule.py:7b --workdir=/mnt/runs/rl
#
#   --name=NAME --zone=ZONE      which slice
#   --type=TYPE --version=V      what to make where it is not there (v5litepod-64, v5p-32, ...; its runtime version)
#   --project=ID                 gcloud's own setting otherwise
#   --spot                       make it a spot slice
#   --nfs=SERVER:/SHARE          mounts it (Filestore, say) at /mnt/runs on every worker: the shared workdir
#   --python=3.12                the Python that uv puts on the workers (their own is often too old)
#   --dry-run                    prints the commands, in order, and runs none
#
# After `--`: the arguments of acecoder_jax.main. The workdir has to be a folder that all workers share (docs/hosts.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' launch/tpu_pod.sh >&2; exit 2; }

name="" zone="" type="" version="" nfs="" python=3.12 dry=false spot=() project=()
while [ $# -gt 0 ]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --type=*) type="${1#*=}" ;;
    --version=*) version="${1#*=}" ;;
    --project=*) project=(--project="${1#*=}") ;;
    --nfs=*) nfs="${1#*=}" ;;
    --python=*) python="${1#*=}" ;;
    --spot) spot=(--spot) ;;
    --dry-run) dry=true ;;
    --) shift; break ;;
    *) echo "error: unknown argument $1" >&2; usage ;;
  esac
  shift
done
for needed in name zone; do
  [ -n "${!needed}" ] || { echo "error: --$needed is missing" >&2; exit 2; }
done
[ $# -gt 0 ] || { echo "error: after -- there is nothing: name the arguments of acecoder_jax.main" >&2; exit 2; }
workdir=""
for argument in "$@"; do
  case "$argument" in --workdir=*) workdir="${argument#*=}" ;; esac
done
case "$workdir" in
  /*) ;;
  *://*) echo "error: $workdir is no folder: the workdir is a shared file system (--nfs=SERVER:/SHARE)" >&2; exit 2 ;;
  *) echo "error: name --workdir=/A/FOLDER after --, one that all workers share" >&2; exit 2 ;;
esac

here=(--zone="$zone" "${project[@]}")
words() {  # as they would be typed
  local word
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@,+-]+$ ]] || word="${word@Q}"
    printf ' %s' "$word"
  done
}
run() {
  echo "+$(words "$@")" >&2
  $dry || "$@"
}
everywhere() { run gcloud compute tpus tpu-vm ssh "$name" "${here[@]}" --worker=all --command="$1"; }

if $dry || ! gcloud compute tpus tpu-vm describe "$name" "${here[@]}" >/dev/null 2>&1; then
  if [ -z "$type" ] || [ -z "$version" ]; then
    $dry || { echo "error: there is no slice $name in $zone: --type and --version say what to make" >&2; exit 1; }
  else
    $dry && echo "# unless it is there:" >&2
    run gcloud compute tpus tpu-vm create "$name" "${here[@]}" --accelerator-type="$type" --version="$version" "${spot[@]}"
  fi
fi

archive="$(mktemp -d)/acecoder_jax.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
run git archive --format=tar.gz --output="$archive" HEAD
run gcloud compute tpus tpu-vm scp "$archive" "$name:acecoder_jax.tar.gz" "${here[@]}" --worker=all
everywhere "rm -rf acecoder_jax && mkdir acecoder_jax && tar -xzf acecoder_jax.tar.gz -C acecoder_jax"
everywhere "export PATH=\$HOME/.local/bin:\$PATH; command -v uv >/dev/null || python3 -m pip install --quiet --user uv; [ -x venv/bin/python ] || uv venv --python $python venv; uv pip install --quiet --python venv/bin/python --editable 'acecoder_jax[tpu]'"
if [ -n "$nfs" ]; then
  # lookupcache=positive: a file that another worker has just made is seen at once
  everywhere "mountpoint -q /mnt/runs || { sudo apt-get install --yes --quiet nfs-common && sudo mkdir -p /mnt/runs && sudo mount -t nfs -o lookupcache=positive $nfs /mnt/runs && sudo chmod 1777 /mnt/runs; }"
fi
everywhere "cd acecoder_jax && ../venv/bin/python -m acecoder_jax.main$(words "$@")"
