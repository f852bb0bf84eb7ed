#!/usr/bin/env bash
# acecoder_jax.main on GPU nodes under SLURM: one process a node, which has all GPUs of it.
#
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm_gpu.sh --config=configs/rl_rule.py:7b --workdir=/shared/runs/rl
#   bash launch/slurm_gpu.sh --dry-run --config=... --workdir=...      # prints what would run
#
# One process a node: it decodes on its node's GPUs as one mesh, has one sandbox with the node's cores, and compiles
# once. The environment is .venv in the folder of the repository (VENV names another), which the nodes share:
#   python3 -m venv .venv && .venv/bin/pip install --editable '.[gpu]'
# The workdir has to be on a file system that the nodes share. SIGTERM comes two minutes before the time limit, for a
# last checkpoint; the same command goes on.
#SBATCH --job-name=acecoder
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=%x-%j.log
set -euo pipefail
# sbatch runs a copy of this file: the repository is where the job was submitted from
root="${SLURM_SUBMIT_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"

dry=false arguments=() workdir=""
for argument in "$@"; do
  case "$argument" in
    --dry-run) dry=true; continue ;;
    --workdir=*) workdir="${argument#*=}" ;;
  esac
  arguments+=("$argument")
done
[ ${#arguments[@]} -gt 0 ] || { echo "error: name the arguments of acecoder_jax.main: --config=... --workdir=..." >&2; exit 2; }
[ -n "$workdir" ] || { echo "error: name --workdir=FOLDER, one that all nodes share" >&2; exit 2; }
[ -f "$root/acecoder_jax/main.py" ] || { echo "error: submit this from the folder of the repository, not from $root" >&2; exit 2; }
python="${VENV:-$root/.venv}/bin/python"

# --kill-on-bad-exit: a node that is lost takes the others with it at once, not at the end of their patience
command=(srun --ntasks-per-node=1 --kill-on-bad-exit=1 --cpu-bind=none --chdir="$root" "$python" -m acecoder_jax.main "${arguments[@]}")
echo "+ ${command[*]@Q}" >&2
$dry && exit 0
[ -n "${SLURM_JOB_ID:-}" ] || { echo "error: this is no SLURM job: start it with sbatch (or see --dry-run)" >&2; exit 2; }
[ -x "$python" ] || { echo "error: no $python: make the environment as this file says" >&2; exit 2; }
exec "${command[@]}"
