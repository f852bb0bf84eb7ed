#!/usr/bin/env bash
# An OpenAI-compatible server on loopback over a GGUF file, by llama-cpp-python: an endpoint for the data stages.
#   bash launch/llama_server.sh MODEL.gguf [--port 8000] [--n_ctx 8192] [any argument of llama_cpp.server]
# It answers at http://127.0.0.1:8000/v1 as the model "local", one request after another, and asks for no key.
# The first time it makes an environment of its own, which compiles llama.cpp: a C++ compiler and CMake are needed, and
# minutes. CMAKE_ARGS="-DGGML_CUDA=on" compiles for a GPU.
#   PYTHON     the interpreter to make the environment from (python3; 3.11 or newer)
#   LLAMA_VENV where the environment lives (~/.cache/acecoder_jax/llama_server)
set -euo pipefail
if [ $# -lt 1 ] || [ ! -f "$1" ]; then
  echo "usage: bash launch/llama_server.sh MODEL.gguf [ARGUMENT ...]; no file ${1:-was named}" >&2
  exit 2
fi
model="$1"
shift
venv="${LLAMA_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/acecoder_jax/llama_server}"
if ! "$venv/bin/python" -c "import llama_cpp.server.app" >/dev/null 2>&1; then
  echo "installing llama-cpp-python into $venv (it compiles for some minutes)" >&2
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "llama-cpp-python[server]>=0.3.16,<0.4"
fi
# interrupt_requests: its default gives up the reply under way as soon as another request comes.
exec "$venv/bin/python" -m llama_cpp.server --model "$model" --model_alias local --host 127.0.0.1 --port 8000 \
  --n_ctx 8192 --interrupt_requests False "$@"
