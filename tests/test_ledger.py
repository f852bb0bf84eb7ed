import errno
import math
import os
import subprocess
import sys

import pytest

from acecoder_jax import ledger, store


def test_rows_are_there_before_append_returns_and_a_torn_line_goes(tmp_path):
    path = tmp_path / "folder" / "rows.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"id": "a"}\n{"id": "b", "te')
    with ledger.appending(path) as append:
        assert store.read_jsonl(path) == [{"id": "a"}]
        append({"id": "c", "text": "line\u2028one\n\ud800"})
        assert store.read_jsonl(path) == [{"id": "a"}, {"id": "c", "text": "line\u2028one\n\ud800"}]


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}])
def test_a_row_that_is_no_json_is_named_and_nothing_of_it_written(tmp_path, value):
    path = tmp_path / "rows.jsonl"
    with ledger.appending(path) as append:
        append({"id": "a"})
        with pytest.raises(ValueError, match=r"rows\.jsonl: row 'b' is not JSON"):
            append({"id": "b", "value": value})
        append({"id": "c"})
    assert store.read_jsonl(path) == [{"id": "a"}, {"id": "c"}]


def test_sorting_keeps_the_bytes_of_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id":"b",  "x": 1}\n\n{"id": "a10"}\n{"id": "a2"}\n{"id": "torn')
    ledger.sort(path)
    assert path.read_bytes() == b'{"id": "a10"}\n{"id": "a2"}\n{"id":"b",  "x": 1}\n'
    before = path.stat().st_ino
    ledger.sort(path)
    assert path.stat().st_ino == before  # in order already: not written again
    path.write_bytes(b'{"id": "\\u00fc"}\n{"id": "\\"b\\""}\n{"id": "z"}\n{"text": "y", "id": "x"}\n')
    ledger.sort(path)
    assert [row["id"] for row in store.read_jsonl(path)] == ['"b"', "x", "z", "\u00fc"]
    ledger.sort(tmp_path / "none.jsonl")
    assert (tmp_path / "none.jsonl").read_bytes() == b""
    assert sorted(os.listdir(tmp_path)) == ["none.jsonl", "rows.jsonl"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (b'{"id": "a"}\n{"id"\n{"id": "b"}\n', "line 2: damaged JSON"),
        (b'{"id": "a"}\n{"id": "b", "x\n{"id": "c"}\n', "line 2: damaged JSON"),
        (b'{"id": "a"}\n{"key": "b"}\n', "line 2: not a row with a text as its 'id'"),
        (b'{"id": "a"}\n{"id": "b"}\n{"id": "a"}\n', "the id 'a' stands there twice"),
    ],
)
def test_what_cannot_be_sorted_is_left_and_told(tmp_path, lines, told):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines)
    with pytest.raises(ValueError, match=told):
        ledger.sort(path)
    assert path.read_bytes() == lines


def test_an_error_among_the_rows_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert ledger.write_rows(path, [{"id": "a"}, {"id": "b"}]) == 2

    def rows():
        yield {"id": "c"}
        raise KeyError("d")

    with pytest.raises(KeyError):
        ledger.write_rows(path, rows())
    assert store.read_jsonl(path) == [{"id": "a"}, {"id": "b"}]
    assert os.listdir(tmp_path) == ["rows.jsonl"]


FULL = """
import resource, signal, sys
from acecoder_jax import ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
with ledger.appending(sys.argv[1]) as append:
    for number in range(100):
        append({"id": f"row {number:03}", "text": "x" * 30})
"""


def test_a_full_disk_is_an_error_and_loses_no_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True)
    assert done.returncode == 1 and f"OSError: [Errno {errno.EFBIG}]" in done.stderr
    assert path.stat().st_size == 150  # the last line is torn
    with ledger.appending(path) as append:
        append({"id": "row 003"})
    assert [row["id"] for row in store.read_jsonl(path)] == ["row 000", "row 001", "row 003"]
