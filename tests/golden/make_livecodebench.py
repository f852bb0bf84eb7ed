"""Records what LiveCodeBench's own package says of the programs in tests/benchmarks/livecode_*.py.

    $(bash bench/make_peer_env.sh nvidia-livecodebench) tests/golden/make_livecodebench.py < /dev/null

livecodebench.json holds its version and Python's, and for each problem which programs passed, by name.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from livecodebench.evaluation import extract_instance_results
from livecodebench.evaluation.compute_code_generation_metrics import evaluate_generations

from tests.benchmarks import livecode_methods, livecode_scripts
from tests.benchmarks.livecode_sample import TIMEOUT_S

SAMPLES = livecode_scripts.SAMPLES + livecode_methods.SAMPLES


def judged(sample):
    """{program's name: whether it passed}. (codegen_metrics, a floor above, fails on a single problem.)"""
    inputs, outputs = (list(texts) for texts in zip(*sample.tests, strict=True))
    wanted = json.dumps({"inputs": inputs, "outputs": outputs, "fn_name": sample.function})
    found, _ = evaluate_generations(
        [{"input_output": wanted}], [list(sample.programs.values())], num_process_evaluate=1, timeout=TIMEOUT_S
    )
    (passed,) = extract_instance_results(found)
    return dict(zip(sample.programs, map(bool, passed), strict=True))


if __name__ == "__main__":
    known = {"package": f"nvidia-livecodebench {importlib.metadata.version('nvidia-livecodebench')}"}
    known |= {"python": platform.python_version(), "passed": {sample.id: judged(sample) for sample in SAMPLES}}
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("livecodebench.json"))
    path.write_text(json.dumps(known, indent=1) + "\n")
    print(f"{sum(map(len, known['passed'].values()))} programs: {path}")
