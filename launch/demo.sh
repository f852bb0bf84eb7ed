#!/usr/bin/env bash
# From a fresh machine to a trained policy: the toy experiment on a CPU. Arguments go on to acecoder_jax.main:
#   bash launch/demo.sh --seed=1 --config.learning_rate=1e-3
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$venv/bin/python" -m acecoder_jax.main --config=configs/rl_rule.py:tiny "$@"
