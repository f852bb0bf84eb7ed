"""Records what BigCodeBench's own package says of the programs in tests/benchmarks/bigcode_sample.py.

    $(bash bench/make_peer_env.sh bigcodebench) tests/golden/make_bigcodebench.py < /dev/null

bigcodebench.json holds its version and Python's, and for each task which programs passed, by name. Only its judge is
asked: the rest of it wants clients of many services. The programs are put below the task's signature as its evaluate
does it ("calibrated").
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}

import bigcodebench.eval as official

from tests.benchmarks.bigcode_sample import SAMPLES, TIMEOUT_S

MEBIBYTES = {"max_as_limit": 30 * 1024, "max_data_limit": 30 * 1024, "max_stack_limit": 10}
official.TIMEOUT_LIMIT = TIMEOUT_S  # else 240


def judged(sample):
    """{program's name: whether it passed}."""
    row = sample.row()
    found = {}
    for name, program in sample.programs.items():
        code = f"{row['code_prompt']}\n    pass\n{program}"
        status, _ = official.untrusted_check(
            code, row["test"], row["entry_point"], min_time_limit=TIMEOUT_S, gt_time_limit=TIMEOUT_S, **MEBIBYTES
        )
        found[name] = status == official.PASS
    return found


if __name__ == "__main__":
    known = {"package": f"bigcodebench {importlib.metadata.version('bigcodebench')}"}
    known |= {"python": platform.python_version(), "passed": {sample.id: judged(sample) for sample in SAMPLES}}
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("bigcodebench.json"))
    path.write_text(json.dumps(known, indent=1) + "\n")
    print(f"{sum(map(len, known['passed'].values()))} programs: {path}")
