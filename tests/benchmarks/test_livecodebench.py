"""LiveCodeBench: its rows, its prompts, the way back, and verdicts as its own package gave them."""

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

from acecoder_jax import benchmarks
from acecoder_jax.benchmarks import Answer, _livecode_rows, livecodebench
from acecoder_jax.sandbox import Sandbox
from tests.benchmarks import livecode_methods, livecode_scripts
from tests.benchmarks.livecode_methods import ADD
from tests.benchmarks.livecode_sample import TIMEOUT_S
from tests.benchmarks.livecode_scripts import SUM

SAMPLES = livecode_scripts.SAMPLES + livecode_methods.SAMPLES
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "livecodebench.json").read_text())


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    rows = [sample.row(packed=at % 2 == 0) for at, sample in enumerate(SAMPLES)]
    path = write(tmp_path_factory.mktemp("livecode") / "test.jsonl", *rows)
    return benchmarks.make("livecodebench", path=path, timeout_s=TIMEOUT_S)


@pytest.fixture(scope="module")
def verdicts(bench):
    """{(problem, program): Verdict}, of all the programs."""
    of = {task.id: task for task in bench.tasks}
    jobs = [
        job
        for sample in SAMPLES
        for name, program in sample.programs.items()
        for job in of[sample.id].jobs(program, f"{sample.id}|{name}").values()
    ]
    with Sandbox(workers=2, stop="failure", quiet=True, **bench.sandbox) as sandbox:
        found = {verdict.id.removesuffix("/tests"): verdict for verdict in sandbox.score(jobs)}
    return {(sample.id, name): found[f"{sample.id}|{name}"] for sample in SAMPLES for name in sample.programs}


# ---- verdicts


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_verdicts_are_those_of_the_package(sample, verdicts):
    assert GOLDEN["package"] == "nvidia-livecodebench 26.3"
    recorded = GOLDEN["passed"][sample.id]
    assert recorded.keys() == sample.programs.keys(), "tests/golden/make_livecodebench.py records them anew"
    ours = {name: verdicts[sample.id, name] for name in sample.programs}
    others = {name: ours[name].messages for name in ours if ours[name].passed != recorded[name]}
    assert not others
    assert ours["canonical"].passed


def test_no_program_is_trusted_and_none_breaks_the_sandbox(verdicts):
    assert all(verdict.mode == "values" and not verdict.infra for verdict in verdicts.values())


def test_a_test_that_runs_out_of_time_says_so(verdicts):
    for key in ((SUM.id, "a loop without end"), (ADD.id, "a loop without end on one test")):
        assert "timeout" in verdicts[key].statuses


# ---- rows


def test_tasks(bench):
    assert [task.id for task in bench.tasks] == sorted(sample.id for sample in SAMPLES)
    task = next(task for task in bench.tasks if task.id == ADD.id)
    assert task.statement == "Solve add-to-all." and task.fields["platform"] == "leetcode"
    part = task.parts["tests"]
    assert part.profile == "calls" and json.loads(part.tests[0]) == {"input": [[1, 2, 3], 1], "output": [2, 3, 4]}
    assert len(part.tests) == 3 and part.limits.test_s == TIMEOUT_S and part.limits.program_s == 2 * 3 * TIMEOUT_S + 5
    script = next(task for task in bench.tasks if task.id == SUM.id).parts["tests"]
    assert script.profile == "stdin" and [tuple(json.loads(test).values()) for test in script.tests] == [*SUM.tests]


def test_a_digest_is_of_the_tests_their_limits_and_the_harness(tmp_path, monkeypatch):
    row = SUM.row()
    same = row | {"question_content": "in other words"}
    other = row | {"public_test_cases": row["public_test_cases"].replace("6", "7")}
    found = [
        benchmarks.make("livecodebench", path=write(tmp_path / "rows.jsonl", one)).tasks[0].digest
        for one in (row, same, other)
    ]
    assert found[0] == found[1] != found[2]
    path = write(tmp_path / "rows.jsonl", row)
    slow = benchmarks.make("livecodebench", path=path, timeout_s=60.0).tasks[0].digest
    monkeypatch.setattr(_livecode_rows, "_harness", lambda: "another")
    assert len({found[0], slow, benchmarks.make("livecodebench", path=path).tasks[0].digest}) == 3


def test_only_tests_that_are_asked_for_are_read(tmp_path):
    path = write(tmp_path / "rows.jsonl", SUM.row(), ADD.row() | {"private_test_cases": "?"})
    tasks = benchmarks.make("livecodebench", path=path).tasks
    assert [*tasks[0].parts] == ["tests"] and tasks[1].parts["tests"]
    with pytest.raises(ValueError, match=r"line 2 \(question_id 'add-to-all'\): private_test_cases is neither"):
        tasks[0].jobs("", "x")


def test_release_and_dates(tmp_path):
    for at, name in enumerate(livecodebench.FILES, start=1):
        row = SUM.row() | {"question_id": f"q{at}", "contest_date": f"2024-0{at}-15T08:00:00"}
        write(tmp_path / name, row)

    def ids(**knobs):
        return [task.id for task in benchmarks.make("livecodebench", path=tmp_path, **knobs).tasks]

    assert ids() == ["q1", "q2", "q3", "q4"] and ids(release="release_v1") == ["q1"]
    assert ids(start_date="2024-02-15", end_date="2024-03-15") == ["q2", "q3"]
    assert ids(release="release_v6", start_date="2024-05-16") == ["q6"]
    with pytest.raises(ValueError, match="no problem of release_v4, 2024-06-01 to "):
        ids(start_date="2024-06-01")
    with pytest.raises(ValueError, match=r"the releases are release_v1, .*, not 'v4'"):
        ids(release="v4")
    with pytest.raises(ValueError, match="end_date: 'May' is not a date"):
        ids(end_date="May")
    (tmp_path / "test3.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks test3.jsonl of release_v4"):
        ids()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"private_test_cases": None}, r"line 1: the row lacks the texts private_test_cases"),
        ({"contest_date": "soon"}, "'soon' is not a date"),
        ({"metadata": "{"}, "metadata is not JSON"),
        ({"metadata": "[]"}, "metadata must hold a JSON dict"),
        ({"metadata": '{"func_name": "a b"}'}, "func_name must be the name of a function, not 'a b'"),
        ({"metadata": "{}"}, "its tests call a function, and metadata.func_name does not say which"),
        ({"public_test_cases": "{}"}, "public_test_cases must hold a JSON list"),
        ({"public_test_cases": '[{"input": "1"}]'}, "a test of public_test_cases must have the texts"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, told):
    path = write(tmp_path / "rows.jsonl", ADD.row() | change)
    with pytest.raises(ValueError, match=told):
        benchmarks.make("livecodebench", path=path)


def packed(data):
    return base64.b64encode(zlib.compress(data)).decode()


class Evil:
    def __reduce__(self):
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    ("private", "told"),
    [
        (packed(pickle.dumps(Evil())), "not one pickled text: it has .*REDUCE"),
        (packed(pickle.dumps(["[]"])), "not one pickled text: it has .*APPEND"),
        (packed(pickle.dumps(b"[]")), "not one pickled text: it has SHORT_BINBYTES"),
        (packed(pickle.dumps("[]")[:-3]), "holds no pickled text"),
        (packed(b""), "holds no pickled text"),
        (packed(pickle.dumps("[]"))[:-8], "neither JSON nor packed|cut short"),
        (packed(pickle.dumps("nonsense")), "private_test_cases is not JSON"),
        ("[{}]", "a test of private_test_cases must have the texts"),
        (json.dumps([{"input": "1 2", "output": "3", "testtype": "functional"}]), "are not JSON"),
    ],
)
def test_private_tests_that_cannot_be_read_are_named(tmp_path, private, told):
    task = benchmarks.make(
        "livecodebench", path=write(tmp_path / "rows.jsonl", ADD.row() | {"private_test_cases": private})
    )
    with pytest.raises(ValueError, match=told) as error:
        task.tasks[0].jobs("", "x")
    assert "question_id 'add-to-all'" in str(error.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("size", [0, 300, 1 << 17])
def test_texts_of_every_pickle_are_read(protocol, size):
    from acecoder_jax.benchmarks import _livecode_rows as rows

    text = json.dumps(["é\n\\" * size], ensure_ascii=False)
    assert rows.unpacked(packed(pickle.dumps(text, protocol)), "here") == text


def test_a_problem_that_stands_there_twice_or_has_no_tests(tmp_path):
    with pytest.raises(ValueError, match=r"line 2 .*appears twice"):
        benchmarks.make("livecodebench", path=write(tmp_path / "rows.jsonl", SUM.row(), SUM.row()))
    bare = SUM.row() | {"public_test_cases": "[]", "private_test_cases": "[]"}
    (task,) = benchmarks.make("livecodebench", path=write(tmp_path / "bare.jsonl", bare)).tasks
    with pytest.raises(ValueError, match="has no tests"):
        task.jobs("", "x")


def test_the_hub_gives_the_files_of_the_release(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(hub_id, name, repo_type):
        asked.append((hub_id, name, repo_type))
        return str(write(tmp_path / name, SUM.row() | {"question_id": name}))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert len(benchmarks.make("livecodebench", release="release_v2").tasks) == 2
    assert asked == [(livecodebench.HUB_ID, name, "dataset") for name in ("test.jsonl", "test2.jsonl")]

    def fail(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(FileNotFoundError, match="name a local copy"):
        benchmarks.make("livecodebench")


# ---- prompts, and the way back


def task_of(bench, sample):
    return next(task for task in bench.tasks if task.id == sample.id)


def test_a_chat_is_told_how_to_answer(bench):
    script, method = (bench.prompt(task_of(bench, sample), "chat") for sample in (SUM, ADD))
    for prompt in (script, method):
        assert [message["role"] for message in prompt.messages] == ["system", "user"]
        assert not prompt.start and not prompt.stop
    assert "Solve sum-of-numbers." in script.messages[1]["content"] and "stdin" in script.messages[1]["content"]
    assert "def addToAll(self, *args):" in method.messages[1]["content"]
    assert "stdin" not in method.messages[1]["content"]


def test_a_base_model_is_shown_a_solved_problem_that_is_right(bench):
    from acecoder_jax.benchmarks import _livecode_prompts as prompts

    for sample in (SUM, ADD):
        prompt = bench.prompt(task_of(bench, sample), "base")
        assert prompt.messages == () and prompt.stop == ("###",)
        assert prompt.start.count("### Question") == 2 and prompt.start.endswith("### Answer\n\n")
        assert ("### Starter Code" in prompt.start) == (sample is ADD)
        assert bench.program(task_of(bench, sample), prompt.start + "\nx = 1\n\n") == "x = 1"
    namespace = {"List": list}
    exec(prompts._FUNCTION_EXAMPLE[2], namespace)
    assert namespace["Solution"]().longestRun([3, 1, 2, 7, 1], 6) == 3


REPLIES = {
    "one": "Here:\n```python\nx = 1\n```\nDone.",
    "two": "```python\nx = 1\n```\nor\n```python\nx = 2\n```",
    "bare": "```\nx = 1\n```",
    "cut": "Here:\n```python\nx = 1\n",
    "none": "  x = 1\n",
    "three fences": "```python\nx = 1\n```\n```python\nx = 2",
    "a fence in a line": "```python\nx = 1\ny = 2 ```",
}


@pytest.mark.parametrize(
    ("extract", "programs"),
    [
        ("last", ["x = 1", "x = 2", "x = 1", "", "", "", "x = 1"]),
        (
            "first",
            ["x = 1", "x = 1", REPLIES["bare"], REPLIES["cut"].strip(), "x = 1", "x = 1", REPLIES["a fence in a line"]],
        ),
    ],
)
def test_programs_are_found_as_the_package_finds_them(tmp_path, extract, programs):
    bench = benchmarks.make("livecodebench", path=write(tmp_path / "rows.jsonl", SUM.row()), extract=extract)
    assert [bench.program(bench.tasks[0], reply) for reply in REPLIES.values()] == programs


def test_an_unknown_extract_is_refused():
    with pytest.raises(ValueError, match="extract is one of last, first"):
        benchmarks.make("livecodebench", extract="best")


def test_official_file(bench, tmp_path):
    answers = [Answer(SUM.id, 1, "r1", "p1"), Answer(ADD.id, 0, "r2", "p2"), Answer(SUM.id, 0, "r0", "p0")]
    path = bench.official(tmp_path / "new", answers)
    rows = json.loads(path.read_text())
    assert [row["question_id"] for row in rows] == [ADD.id, SUM.id]
    assert rows[1]["code_list"] == ["p0", "p1"] and rows[1]["output_list"] == ["r0", "r1"]
    assert rows[1].keys() == {*SUM.row()} - {"public_test_cases", "private_test_cases", "metadata"} | {
        "output_list", "code_list",
    }  # fmt: skip
