import gzip
import json
import os
import stat
import subprocess
import sys

import pytest

from acecoder_jax import store


def test_rows_appended_in_two_goes_read_back_in_order(tmp_path):
    path = tmp_path / "folder" / "rows.jsonl"
    store.append_jsonl(path, [{"id": "a", "text": "line\u2028one\n\ud800"}])  # odd line ends, a lone surrogate
    store.append_jsonl(path, [{"id": "b"}, {"id": "c"}])
    assert store.read_jsonl(path) == [{"id": "a", "text": "line\u2028one\n\ud800"}, {"id": "b"}, {"id": "c"}]
    assert store.done_ids(path) == {"a", "b", "c"}
    assert path.read_bytes().count(b"\n") == 3


def test_a_row_is_on_disk_before_the_next_one_is_made(tmp_path):
    path = tmp_path / "rows.jsonl"

    def rows():
        yield {"id": "a"}
        assert store.read_jsonl(path) == [{"id": "a"}]
        yield {"id": "b"}

    store.append_jsonl(path, rows())
    assert store.done_ids(path) == {"a", "b"}


def test_gz_is_read_and_never_appended_or_repaired(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n\n{"id": 2}'))
    assert store.read_jsonl(path) == [{"id": 1}, {"id": 2}]
    with pytest.raises(ValueError, match="compressed"):
        store.append_jsonl(path, [{"id": 3}])
    with pytest.raises(ValueError, match="compressed"):
        store.read_jsonl(path, repair=True)
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"no gzip", whole[:12] + bytes(byte ^ 0xFF for byte in whole[12:])):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"rows\.jsonl\.gz: damaged"):
            store.read_jsonl(path)


@pytest.mark.parametrize("torn_at", [1, 5, 9])
def test_a_torn_last_line_is_cut_off_and_appending_goes_on(tmp_path, torn_at):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2}\n' + b'{"id": 3}'[:torn_at])
    with pytest.raises(ValueError, match="repair_jsonl"):
        store.append_jsonl(path, [{"id": 4}])
    assert store.read_jsonl(path, repair=True) == [{"id": 1}, {"id": 2}]
    assert path.read_bytes() == b'{"id": 1}\n{"id": 2}\n'
    store.append_jsonl(path, [{"id": 4}])
    assert store.done_ids(path) == {1, 2, 4}


def test_torn_lines_of_any_length_are_cut(tmp_path):
    path = tmp_path / "rows.jsonl"
    for head in (b"", b'{"id": 1}\n'):
        for length in (1, 65535, 65536, 65537, 200_000):
            path.write_bytes(head + b"x" * length)
            assert len(store.read_jsonl(path, repair=True)) == head.count(b"\n")
            assert path.read_bytes() == head


def test_damage_names_file_and_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": \n{"id": 3}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: damaged"):
        store.read_jsonl(path, repair=True)
    path.write_bytes(b'{"id": 1}\n[2]\n')
    with pytest.raises(ValueError, match=r"line 2: expected a JSON object, found list"):
        store.read_jsonl(path)
    path.write_bytes(b'{"id": 1}\n{"id"')
    with pytest.raises(ValueError, match=r"line 2: .*torn last line"):
        store.read_jsonl(path)


def test_a_scan_goes_on_after_damage_and_counts_blank_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    deep = b"[" * 100_000
    path.write_bytes(b'{"id": 1}\n\n{"id": \n  \n"\xff"\n[2]\n' + deep + b'\n{"id": 2}\n{"id"')
    scanned = dict(store.scan_jsonl(path))
    assert {number: row for number, row in scanned.items() if isinstance(row, dict)} == {1: {"id": 1}, 8: {"id": 2}}
    assert list(scanned) == [1, 3, 5, 6, 7, 8, 9]
    assert all("damaged JSON" in scanned[number] for number in (3, 5, 7, 9)) and "torn" in scanned[9]
    assert scanned[6] == "expected a JSON object, found list"


def test_a_missing_file(tmp_path):
    assert store.done_ids(tmp_path / "none.jsonl") == set()
    assert store.truncate_jsonl(tmp_path / "none.jsonl", lambda row: True) == 0
    with pytest.raises(FileNotFoundError):
        store.read_jsonl(tmp_path / "none.jsonl")


def test_a_row_with_nan_is_refused_and_leaves_the_file_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    store.append_jsonl(path, [{"id": 1}])
    with pytest.raises(ValueError, match="row 'bad' is not JSON"):
        store.append_jsonl(path, [{"id": "bad", "x": float("nan")}])
    assert store.read_jsonl(path) == [{"id": 1}]


def test_truncate_keeps_the_bytes_of_the_rows_that_stay(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step":0}\n{"step":   1}\n{"step":2}\n{"st')
    assert store.truncate_jsonl(path, lambda row: row["step"] < 2) == 1
    assert path.read_bytes() == b'{"step":0}\n{"step":   1}\n'


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    store.write_json(path, {"a": 1})
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        store.write_json(path, {"a": 2})
    assert store.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["results.json"]


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json: damaged"):
        store.read_json(tmp_path / "x.json")


CONFIG = {"seed": 0, "learning_rate": 1e-3, "stop": ("a", "b"), "mesh": {"fsdp": -1}, "sandbox": {"workers": 2}}


def test_the_same_config_resumes(tmp_path):
    assert store.save_config(tmp_path, CONFIG) == {}
    assert store.save_config(tmp_path, CONFIG) == {}
    assert json.loads((tmp_path / "config.json").read_text())["mesh"] == {"fsdp": -1}


def test_a_changed_config_names_every_key_with_both_values(tmp_path):
    store.save_config(tmp_path, CONFIG)
    changed = {**CONFIG, "seed": 1, "mesh": {"fsdp": 4, "data": 2}, "sandbox": {"workers": 3}}
    del changed["stop"]
    with pytest.raises(ValueError) as error:
        store.save_config(tmp_path, changed, may_change=["sandbox"])
    message = str(error.value)
    for line in ("seed: 0 -> 1", "mesh.fsdp: -1 -> 4", "mesh.data: None -> 2", "stop: ['a', 'b'] -> None"):
        assert f"  {line}\n" in message
    assert "sandbox" not in message and "learning_rate" not in message
    assert store.save_config(tmp_path, CONFIG) == {}  # nothing was written


def test_keys_that_may_change_and_changes_that_were_accepted(tmp_path):
    store.save_config(tmp_path, CONFIG)
    more_workers = {**CONFIG, "sandbox": {"workers": 3}}
    assert store.save_config(tmp_path, more_workers, may_change=["sandbox.workers"]) == {"sandbox.workers": (2, 3)}
    assert store.save_config(tmp_path, {**more_workers, "seed": 5}, allow_change=True) == {"seed": (0, 5)}
    assert store.read_json(tmp_path / "config.json")["seed"] == 5


def test_may_change_is_a_key_or_a_branch_not_a_beginning_of_a_word(tmp_path):
    store.save_config(tmp_path, {"step": 1, "steps": 1})
    with pytest.raises(ValueError, match="steps: 1 -> 2"):
        store.save_config(tmp_path, {"step": 1, "steps": 2}, may_change=["step"])


def test_a_changed_type_is_a_change(tmp_path):
    store.save_config(tmp_path, {"flag": 1})
    with pytest.raises(ValueError, match="flag: 1 -> True"):
        store.save_config(tmp_path, {"flag": True})


def test_one_process_at_a_time_holds_a_workdir(tmp_path):
    take = "import sys; from acecoder_jax import store\nwith store.lock(sys.argv[1]): print('taken')"
    other = [sys.executable, "-c", take, str(tmp_path)]
    with store.lock(tmp_path):
        refused = subprocess.run(other, capture_output=True, text=True)
        assert "another process is running in this workdir" in refused.stderr and refused.stdout == ""
    assert subprocess.run(other, capture_output=True, text=True).stdout == "taken\n"


def test_a_run_has_begun_with_the_first_thing_that_follows_from_its_config(tmp_path):
    for note in ("config.json", "starts.jsonl", "tensorboard/events"):
        (tmp_path / note).parent.mkdir(exist_ok=True)
        (tmp_path / note).write_text("{}")
    (tmp_path / "lock").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.jsonl").touch()
    assert not store.begun(tmp_path)
    (tmp_path / "sft" / "model").mkdir(parents=True)
    assert not store.begun(tmp_path)
    (tmp_path / "sft" / "model" / "config.json").write_text("{}")
    assert store.begun(tmp_path)


def test_half_written_files_go_and_no_others(tmp_path):
    for name in (".000003.npz.17.4", ".nfs0001", "000003.npz"):
        (tmp_path / name).write_text("half")
    store.remove_half_written(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".nfs0001", "000003.npz"]
    store.remove_half_written(tmp_path / "absent")
