#!/usr/bin/env bash
# An OpenAI-compatible server on loopback over a GGUF file, llama.cpp's own: an endpoint for the data stages.
#   bash launch/llama_server.sh MODEL.gguf [--port 8000] [--parallel 8] [--ctx-size 24576] [any argument of llama-server]
# It answers at http://127.0.0.1:8000/v1 as the model "local", 8 requests at a time of 3,072 tokens each, and asks for
# no key. The first time it compiles llama.cpp from the sources that llama-cpp-python ships on PyPI: a C++ compiler is
# needed, and minutes. CMAKE_ARGS="-DGGML_CUDA=on" compiles for a GPU.
#   PYTHON    the interpreter that fetches the sources and CMake (python3; 3.11 or newer)
#   LLAMA_DIR where the program lives (~/.cache/acecoder_jax/llama_server)
set -euo pipefail
if [ $# -lt 1 ] || [ ! -f "$1" ]; then
  echo "usage: bash launch/llama_server.sh MODEL.gguf [ARGUMENT ...]; no file ${1:-was named}" >&2
  exit 2
fi
model="$1"
shift
folder="${LLAMA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/acecoder_jax/llama_server}"
if [ ! -x "$folder/llama-server" ]; then
  echo "compiling llama.cpp into $folder (for some minutes; what it says is in $folder/build.log)" >&2
  work="$folder/build"
  rm -rf "$work"
  mkdir -p "$work"
  set +e
  (
    set -e
    "${PYTHON:-python3}" -m venv "$work/venv"
    export PATH="$work/venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
    python -m pip install cmake ninja
    python -m pip download --no-deps --no-binary llama-cpp-python --dest "$work" "llama-cpp-python==0.3.36"
    tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work"
    # shellcheck disable=SC2086  # CMAKE_ARGS holds several
    cmake -G Ninja -S "$work"/llama_cpp_python-*/vendor/llama.cpp -B "$work/out" -DCMAKE_BUILD_TYPE=Release \
      -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
      -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF ${CMAKE_ARGS:-}
    cmake --build "$work/out" --target llama-server
    mv "$work/out/bin/llama-server" "$folder/llama-server"
  ) >"$folder/build.log" 2>&1
  code=$?
  set -e
  if [ "$code" != 0 ]; then
    tail -n 20 "$folder/build.log" >&2
    echo "error: llama.cpp could not be compiled; $folder/build.log has all of it" >&2
    exit 1
  fi
  rm -rf "$work"
fi
exec "$folder/llama-server" --model "$model" --alias local --host 127.0.0.1 --port 8000 --parallel 8 --ctx-size 24576 "$@"
