"""Two processes of a run: what they tell one another, who writes, and how they end."""

import json
import sys

import pytest

from acecoder_jax import hosts, store
from tests.processes import ends, pair

CONFIG = """
from ml_collections import ConfigDict
from acecoder_jax import presets

def get_config(argument=""):
    config = ConfigDict({"stage": "probe", "seed": 0, "how": ""})
    presets.apply(config, presets.parse(argument, {"": {}}, default="")[1])
    return config
"""
STAGE = """
import json, os, signal, threading, time, jax
from acecoder_jax import hosts
from acecoder_jax.stops import Stop, Stopped
SEVERAL_PROCESSES = True

class Enough(Exception):
    pass

def enough():
    raise Enough

def run_until_stopped(workdir, me):
    with Stop() as stop:
        if me == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            while True:  # its share of the work: without end, if it does not hear of the other's signal
                stop.check()
                time.sleep(0.02)
        except Stopped:
            (workdir / f"{me}.json").write_text(json.dumps([stop.signal, stop.asked()]))
            hosts.barrier("both")
            raise

def run(config, workdir):
    me = jax.process_index()
    if config.how == "stop":
        run_until_stopped(workdir, me)
    print("said by", me)
    if config.how == "raise" and me == 1:
        raise ValueError("the second one has had enough")
    if config.how == "bug" and me == 0:
        {}["absent"]
    if config.how in ("raise", "bug"):
        hosts.barrier("that never comes")
    large = list(range(300_000)) if me == 0 else 0.1 + 0.2
    seen = {"large": hosts.exchange("large", large) == [list(range(300_000)), 0.1 + 0.2]}
    seen["first"] = [hosts.from_first("first", lambda: [me, n]) for n in range(3)]
    seen["share"] = hosts.share("abcde")
    seen["merged"] = hosts.merge(hosts.exchange("share", [c + n for c in hosts.share("abc") for n in "12"]), 2)
    def tell(name):
        seen[name] = hosts.exchange(name, name + str(me))
    threads = [threading.Thread(target=tell, args=[name]) for name in "pq"[:: 1 - 2 * me]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if me == 0:
        try:
            hosts.exchange("late", 0, enough)
        except Enough:
            seen["checked"] = True
    hosts.barrier("checked")
    seen["left"] = [key for key, _ in hosts.client().key_value_dir_get_bytes("acecoder_jax/large/1/")]
    (workdir / f"{me}.json").write_text(json.dumps(seen))
"""
START = """
from absl import app
import acecoder_jax.stages
acecoder_jax.stages.__path__ = [*acecoder_jax.stages.__path__, "stages"]
from acecoder_jax import main, store
store.TOKEN_WAIT_S = 0.5
app.run(main.main, flags_parser=main.parse_flags)
"""


@pytest.fixture
def start(tmp_path):
    """Runs main twice in a folder that holds toy.py (a config) and the stage `probe`."""
    (tmp_path / "toy.py").write_text(CONFIG)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "probe.py").write_text(STAGE)

    def run(*args, each=((), ())):
        both = pair(["--config=toy.py", *args], each, start=[sys.executable, "-c", START], cwd=tmp_path)
        return ends(both, timeout_s=120)

    return run


def test_one_process_tells_itself():
    assert hosts.exchange("name", {"a": 1}) == [{"a": 1}]
    assert hosts.from_first("name", lambda: 2) == 2 and hosts.is_first()
    assert hosts.share([1, 2, 3]) == [1, 2, 3]


def test_shares_come_together_in_order():
    assert hosts.merge([["a1", "a2", "c1", "c2"], ["b1", "b2"]], 2) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert hosts.merge([[1, 4], [2], [3]]) == [1, 2, 3, 4]
    assert hosts.merge([[1], [], []]) == [1]


def test_two_processes(start, tmp_path):
    first, second = start("--workdir=w")
    assert first[0] == 0, first[2]
    assert second[0] == 0, second[2]
    assert "devices: 2 x cpu (cpu), in 2 processes" in first[1] and "said by 0" in first[1]
    assert "said by" not in second[1] and "devices" not in second[1]
    assert len(store.read_jsonl(tmp_path / "w" / "starts.jsonl")) == 1
    for me in (0, 1):
        seen = json.loads((tmp_path / "w" / f"{me}.json").read_text())
        assert seen["large"] and seen["first"] == [[0, 0], [0, 1], [0, 2]]
        assert seen["share"] == ["ace", "bd"][me]
        assert seen["merged"] == ["a1", "a2", "b1", "b2", "c1", "c2"]
        assert seen["p"] == ["p0", "p1"] and seen["q"] == ["q0", "q1"]  # in threads, begun in opposite orders
        assert seen.get("checked", False) == (me == 0)
        assert seen["left"] == []  # what all have read is gone


@pytest.mark.parametrize(
    ("how", "failed", "said"), [("raise", 1, "the second one has had enough"), ("bug", 0, "KeyError: 'absent'")]
)
def test_a_process_that_fails_ends_the_other(start, how, failed, said):
    both = start("--workdir=w", f"--config.how={how}")
    assert both[failed][0] == 1 and said in both[failed][2]
    assert both[1 - failed][0] == 1 and f"ended with process {failed}: " in both[1 - failed][2]
    assert said in both[1 - failed][2]
    assert all(line.startswith("[process 1] ") for line in both[1][2].splitlines() if said in line)


def test_a_process_that_is_to_stop_tells_the_other(start, tmp_path):
    both = start("--workdir=w", "--config.how=stop")
    assert [code for code, *_ in both] == [143, 143], both
    noted = [json.loads((tmp_path / "w" / f"{me}.json").read_text()) for me in (0, 1)]
    assert noted == [[0, True], [15, True]]


def test_several_processes_that_cannot_talk(monkeypatch):
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 4)
    with pytest.raises(RuntimeError, match="JAX has found 4 processes"):
        hosts.exchange("name", 1)


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ((["--workdir=w"], ["--workdir=v"]), "process 1 does not see what process 0 writes to the workdir"),
        ((["--workdir=w"], ["--workdir=w", "--seed=1"]), "process 1 was started with another config than process 0"),
        ((["--workdir=gs://b/w"], ["--workdir=gs://b/w"]), "it has to be a folder"),
        ((["--workdir=w", "--config.stage=score"],) * 2, "the stage 'score' runs in one process; this run has 2"),
    ],
)
def test_processes_that_do_not_fit_together(start, each, said):
    for code, out, err in start(each=each):
        assert code == 1 and said in err and "said by" not in out
