#!/usr/bin/env bash
# The tests, in the environment of launch/demo.sh plus the development tools. Arguments go on to pytest:
#   bash launch/test.sh tests/test_store.py -k torn
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
install dev requirements.txt pyproject.toml -- --editable '.[dev]'
exec "$venv/bin/python" -m pytest "$@"
