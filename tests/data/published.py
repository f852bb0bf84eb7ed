"""Rows of the two published schemas, and files of them."""

import gzip
import json

import pyarrow
import pyarrow.parquet


def question(number, programs=2):
    """A row of AceCode-87K as it is published, with the nested context_messages, and a column more."""
    return {
        "id": f"evol_{number}",
        "source": "evol" if number % 3 else "oss",
        "question": f"Write f{number}. Ünïcode\u2028too.",
        "test_cases": [f"assert f{number}({i}) == {i}" for i in range(5 + number % 2)],
        "inferences": [
            {
                "model_name": "qwen",
                "completion_id": k,
                "completion": f"def f{number}(x): return {k}",
                "pass_rate": k / 7,
            }
            for k in range(programs)
        ],
        "context_messages": [[{"content": f"q{number}", "role": "user"}]],
        "n_tests_all": 7,
    }


def pair(number):
    """A row of AceCodePair-300K as it is published: numbered."""
    return {
        "id": number,
        "instruction": f"Write f{number}.",
        "input": "",
        "chosen": f"good {number}",
        "rejected": "bad",
    }


def write(path, rows):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    text = "".join(json.dumps(r) + "\n" for r in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
