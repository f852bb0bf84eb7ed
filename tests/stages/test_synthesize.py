import functools
import json
import pickle
import re
import signal
import subprocess
import threading
import time

import pytest

from acecoder_jax import store
from acecoder_jax.stages import _writing, synthesize
from acecoder_jax.writers import FAILURES, BudgetSpent, WriterError
from configs.synthesize import get_config
from tests.stages.runs import ROOT, command, environment
from tests.writers.hostile_endpoint import Answer, Batches, Server, error, says

NAMES = [f"f{number}" for number in range(8)]


@pytest.fixture
def tree(tmp_path):
    """Python source with eight functions that differ."""
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    body = '    """Counts {word}, {n} times."""\n    {word} = text.count("{word}") * {n}\n    return [{word}] * {n}\n'
    source = "".join(
        f"def {name}(text):\n" + body.format(word=word, n=n + 2)
        for n, (name, word) in enumerate(zip(NAMES, words, strict=True))
    )
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "seeds.py").write_text(source)
    return folder


def configured(server, tree, **more):
    knobs = {
        "endpoint.base_url": server.url, "endpoint.attempts": 2, "endpoint.backoff_s": 0.001, "endpoint.model": "m",
        "batch.base_url": server.url, "batch.model": "m", "batch.key_env": "", "batch.poll_s": 0.0, "min_tests": 2,
    }  # fmt: skip
    config = get_config("tiny")
    with config.unlocked():
        config.sources = ({"source": "folder", "path": str(tree), "min_characters": 1, "near_duplicates": 0.0},)
        for key, value in (knobs | more).items():
            holder, _, last = key.rpartition(".")
            (config[holder] if holder else config)[last] = value
    return config


def seed_of(body):
    """The name of the function that a request is about."""
    return re.search(r"def (f\d)\(", body["messages"][0]["content"])[1]


def good(name, tests=3):
    return json.dumps({"question": f"Write {name}.", "tests": [f"assert {name}({n}) == {n}" for n in range(tests)]})


def start(config, workdir):
    workdir.mkdir(exist_ok=True)
    synthesize.run(config, workdir)
    return rows(workdir)


def rows(workdir):
    return {
        name: {row["seed" if name == "questions" else "id"].rpartition(".")[2]: row for row in store.read_jsonl(path)}
        for name in ("questions", "rejected")
        for path in [workdir / f"{name}.jsonl"]
        if path.exists()
    }


def test_every_seed_has_a_question_or_a_reason(tree, tmp_path, capsys):
    replies = {
        "f0": says(good("f0")),
        "f1": says("```json\n" + good("f1") + "\n```"),
        "f2": says(good("f2")[:-20], "length"),
        "f3": says("I would rather not."),
        "f4": says('{"task": "no", "tests": []}'),
        "f5": says('{"question": "Write f5.", "tests": ["assert f5(1) == 1", "assert f5(x) == 1"]}'),
        "f6": error(500, "oops"),
        "f7": says("", "content_filter"),
    }
    with Server(lambda asked: replies[seed_of(asked.body)]) as server:
        found = start(configured(server, tree), tmp_path / "run")
        assert len(server.asked) == 9
    assert found["questions"].keys() == {"f0", "f1", "f2"}
    assert {name: row["reason"] for name, row in found["rejected"].items()} == {
        "f3": "not_json", "f4": "wrong_schema", "f5": "too_few_tests", "f6": "server_error", "f7": "content_filter",
    }  # fmt: skip
    row = found["questions"]["f0"]
    assert row["id"] == row["seed"] and row["source"] and row["entry_point"] == "f0" and row["model"] == "m"
    assert (
        row["test_cases"] == ["assert f0(0) == 0", "assert f0(1) == 1", "assert f0(2) == 2"] and row["n_tests_all"] == 3
    )
    assert (row["prompt_tokens"], row["completion_tokens"], row["attempts"]) == (10, 5, 1)
    assert found["questions"]["f2"]["finish"] == "length" and len(found["questions"]["f2"]["test_cases"]) == 2
    results = store.read_json(tmp_path / "run" / "results.json")
    assert results["questions"] == 3 and results["rejected"] == {
        "content_filter": 1, "not_json": 1, "too_few_tests": 1, "wrong_schema": 1,
    }  # fmt: skip
    assert results["failed"] == {"server_error": 1} and results["left"] == 0
    assert results["requests"] == 8 == 3 + sum(results["rejected"].values()) + sum(results["failed"].values())
    assert results["attempts"] == 9 and results["repaired"] == {"fence": 1, "truncated": 1}
    assert results["refused"] == {"not_constant": 1} and results["tests"] == 8
    assert "1 requests failed" in capsys.readouterr().out
    assert len(store.read_jsonl(tmp_path / "run" / "seeds.jsonl")) == 8
    with Server(
        lambda asked: says(good(seed_of(asked.body)))
    ) as server:  # what failed, and nothing else, is asked again
        again = start(configured(server, tree), tmp_path / "run")
        assert [seed_of(asked.body) for asked in server.asked] == ["f6"]
    assert again["questions"].keys() == {"f0", "f1", "f2", "f6"}
    assert store.read_json(tmp_path / "run" / "results.json")["failed"] == {}


def test_no_question_holds_a_piece_of_a_benchmark(tree, tmp_path):
    """Though its seed does not: a model knows the benchmarks by heart."""
    words = "given a list of numbers say whether any two of them are closer than the threshold"
    store.write_jsonl(tmp_path / "held.jsonl", [{"task_id": "Held/0", "prompt": words}])

    def answer(asked):
        name = seed_of(asked.body)
        return says(good(name).replace(f"Write {name}.", f"{words.title()}!") if name == "f1" else good(name))

    with Server(answer) as server:
        found = start(
            configured(server, tree, **{"seeds.decontaminate": (str(tmp_path / "held.jsonl"),)}), tmp_path / "run"
        )
    assert found["questions"].keys() == set(NAMES) - {"f1"}
    row = found["rejected"]["f1"]
    assert row["reason"] == "in a benchmark" and row["detail"].startswith("Held/0: given a list")
    assert store.read_json(tmp_path / "run" / "results.json")["rejected"] == {"in a benchmark": 1}


def test_a_seed_of_two_sources_is_asked_about_once(tree, tmp_path, capsys):
    both = tuple(
        {"source": "folder", "path": str(tree), "label": label, "min_characters": 1} for label in ("one", "two")
    )
    with Server(lambda asked: says(good(seed_of(asked.body)))) as server:
        start(configured(server, tree, sources=both, **{"seeds.near_duplicates": 0.0}), tmp_path / "run")
        assert len(server.asked) == 8
    seeds, gone = (store.read_jsonl(tmp_path / "run" / f"{name}.jsonl") for name in ("seeds", "seeds_rejected"))
    assert {row["source"] for row in seeds} == {"one"} and len(seeds) == 8
    assert [row["id"] for row in gone] == [f"two_seeds.{name}" for name in NAMES]
    assert {row["reason"] for row in gone} == {"duplicate"} and "duplicates across sources" in capsys.readouterr().out


def test_the_prompt_and_the_schema(tree, tmp_path):
    with Server(lambda asked: says(good(seed_of(asked.body)))) as server:
        start(configured(server, tree, tests_asked=12), tmp_path / "run")
        body = server.asked[0].body
    text = body["messages"][0]["content"]
    assert "There are about 12 of them" in text and '"question"' in text and "```python\ndef f" in text
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["question", "tests"] and body["temperature"] == 0.7
    assert schema["properties"]["tests"]["minItems"] == 6 and schema["properties"]["tests"]["maxItems"] == 24
    assert len({asked.body["seed"] for asked in server.asked}) == 8  # noise of its own for each


def test_a_wrong_key_and_an_endpoint_that_is_down(tree, tmp_path):
    def answer(asked):
        return says(good("f0")) if asked.number == 1 else error(401, "no")

    with Server(answer) as server:
        config = configured(server, tree, **{"endpoint.concurrency": 1})
        with pytest.raises(WriterError, match="refuses the key"):
            start(config, tmp_path / "run")
    found = rows(tmp_path / "run")
    assert len(found["questions"]) == 1 and [row["reason"] for row in found["rejected"].values()] == ["refused"]
    with pytest.raises(WriterError, match="cannot be reached"):
        start(config, tmp_path / "run")  # nobody listens there any more
    results = store.read_json(tmp_path / "run" / "results.json")
    assert results["questions"] == 1 and results["failed"] == {"unreachable": 1} and results["left"] == 6
    with Server(lambda asked: says(good(seed_of(asked.body)))) as server:
        found = start(configured(server, tree), tmp_path / "run")
        assert len(server.asked) == 7
    assert found["questions"].keys() == set(NAMES) and not found["rejected"]


def test_the_budget_and_how_to_go_on(tree, tmp_path):
    with Server(lambda asked: says(good(seed_of(asked.body)), usage=(0, 1_000_000))) as server:
        knobs = {"endpoint.price_out_usd": 1.0, "budget_usd": 3.0, "endpoint.concurrency": 2}
        config = configured(server, tree, **knobs)
        with pytest.raises(BudgetSpent, match=r"3\.0000 USD for 3 requests.*5 seeds are left.*--config\.budget_usd"):
            start(config, tmp_path / "run")
        assert len(server.asked) == 3 == len(rows(tmp_path / "run")["questions"])
        with pytest.raises(BudgetSpent):
            start(config, tmp_path / "run")  # earlier starts count
        assert len(server.asked) == 3
        found = start(configured(server, tree, **(knobs | {"budget_usd": 8.5})), tmp_path / "run")
        assert len(server.asked) == 8 and len(found["questions"]) == 8
    assert store.read_json(tmp_path / "run" / "results.json")["cost_usd"] == 8.0


def test_the_work_travels_to_other_nodes(tree, tmp_path):
    """Pickled without the key, which each node takes from its own environment."""
    with Server(lambda asked: says(good("f0"))) as server:
        config = configured(server, tree)
        arguments = _writing.writer_args(config, tmp_path, [])
        asking = synthesize.Asking(0.7, 1.0, 100, 5, 2, 0)
        packed = pickle.dumps(functools.partial(synthesize.work, "endpoint", arguments, asking))
        seed = {"id": "a", "source": "s", "program": "def f0(): ...", "instruction": "", "licence": "MIT"}
        with pickle.loads(packed)() as work:
            (row,) = work([seed | {"spent_usd": 0.5}])
    assert row["entry_point"] == "f0" and row["licence"] == "MIT" and row["cost_usd"] == 0.5


def test_a_shared_cache_costs_nothing(tree, tmp_path):
    with Server(lambda asked: says(good(seed_of(asked.body)), usage=(0, 1_000_000))) as server:
        knobs = {"endpoint.price_out_usd": 1.0, "endpoint.cache": str(tmp_path / "cache")}
        first = start(configured(server, tree, **knobs), tmp_path / "one")
        again = start(configured(server, tree, **knobs), tmp_path / "two")
        assert len(server.asked) == 8
    results = store.read_json(tmp_path / "two" / "results.json")
    assert results["cost_usd"] == 0 and results["cached"] == 8 and results["attempts"] == 0
    cost = {"cost_usd", "cached", "attempts"}
    for name in NAMES:
        one, two = first["questions"][name], again["questions"][name]
        assert {k: v for k, v in one.items() if k not in cost} == {k: v for k, v in two.items() if k not in cost}


def test_by_the_batch_api(tree, tmp_path):
    api = Batches(lambda body: (200, says(good(seed_of(body))).body))
    with Server(api) as server:
        found = start(configured(server, tree, writer="batch"), tmp_path / "run")
    assert found["questions"].keys() == set(NAMES) and len(api.batches) == 1


def test_bad_configs(tree, tmp_path):
    with Server(lambda asked: says("")) as server:
        for change, told in [
            ({"sources": ()}, "sources is empty"),
            ({"writer": "nobody"}, "endpoint, batch or local"),
            ({"writer": "local", "budget_usd": 1.0}, "costs nothing"),
            ({"sources": ({"source": "folder", "path": str(tree), "min_characters": 10_000},)}, "no seed is left"),
            ({"sources": ({"source": "folder", "path": str(tree)},) * 2}, "has been used before"),
            ({"sources": ({"source": "folder", "path": str(tree), "cuont": 3},)}, "a source takes .*, not cuont"),
        ]:
            workdir = tmp_path / told.replace(" ", "")
            with pytest.raises(ValueError, match=told):
                start(configured(server, tree, **change), workdir)
            assert not (workdir / "seeds.jsonl").exists() or change.get("writer")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(tree, tmp_path, number):
    """Nothing is lost, nothing is done twice, and both end with the files of a run that nobody killed."""
    hold, gone = threading.Event(), threading.Event()

    def answer(asked):
        if not hold.is_set() and seed_of(asked.body) in ("f4", "f5", "f6", "f7"):
            gone.wait(60)  # these never come back to the run that is killed
            return Answer(mute=True)
        return says(good(seed_of(asked.body)))

    workdir = tmp_path / "run"
    with Server(answer) as server:
        source = {"source": "folder", "path": str(tree), "min_characters": 1, "near_duplicates": 0.0}
        args = [
            "--config=configs/synthesize.py:tiny,min_tests=2,endpoint.concurrency=8,endpoint.model=m",
            f"--workdir={workdir}",
            f"--config.endpoint.base_url={server.url}",
            f"--config.sources=({source!r},)",
        ]
        process = subprocess.Popen(command(*args), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        questions, deadline = workdir / "questions.jsonl", time.monotonic() + 120
        while not questions.exists() or questions.read_bytes().count(b"\n") < 4:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        with open(questions, "ab") as file:
            file.write(b'{"id": "tor')  # as a kill in the middle of a write leaves it
        done = [row["id"] for row in store.read_jsonl(questions, repair=True)]
        hold.set()
        gone.set()
        before = len(server.asked)
        again = subprocess.run(command(*args), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
        assert again.returncode == 0, again.stdout + again.stderr
        assert {seed_of(asked.body) for asked in server.asked[before:]} == {"f4", "f5", "f6", "f7"}
        assert len(server.asked) - before == 4
    found = store.read_jsonl(questions)
    assert len(found) == 8 and len({row["id"] for row in found}) == 8 and set(done) < {row["id"] for row in found}
    assert found == sorted(found, key=lambda row: row["id"])
    assert not (set(FAILURES) & {row["reason"] for row in store.read_jsonl(workdir / "rejected.jsonl")})
    for name in ("questions", "what became of the seeds", "cost"):
        assert name in again.stdout
