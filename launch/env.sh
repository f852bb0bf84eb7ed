# Sourced by the scripts beside it and by .ci/run: makes the virtual environment and moves to the root of the repository.
#   PYTHON  the interpreter to make it from (python3; 3.11 or newer)
#   VENV    where it lives (.venv in the root of the repository)
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$(realpath -m "${VENV:-$root/.venv}")"
cd "$root"

# install NAME FILE... -- PIP-ARGUMENT...: runs pip, unless it did so already for these very files.
install() {
  local stamp="$venv/.installed-$1" files=()
  shift
  while [ "$1" != -- ]; do files+=("$1"); shift; done
  shift
  local hash
  hash="$(cat "${files[@]}" | sha256sum)"
  [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && return
  echo "installing $* into $venv (a few minutes the first time)" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  echo "$hash" > "$stamp"
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then  # none yet, or one that was left half made
  "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed, found $("${PYTHON:-python3}" --version 2>&1); name one with PYTHON=python3.12" >&2
    exit 1
  }
  "${PYTHON:-python3}" -m venv "$venv"
fi
install core requirements.txt -- -r requirements.txt
