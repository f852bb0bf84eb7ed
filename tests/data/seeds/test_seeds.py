"""`seeds.load` as a whole: every filter with its count, the same result for any order of rows, errors."""

import collections
import gzip
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecoder_jax.data import seeds
from acecoder_jax.data.seeds import heldout
from acecoder_jax.types import Rejection, Seed

PROMPT = "def near(numbers):\n    '''Tell whether any two of the numbers are closer to each other than the limit.'''\n"
HUMANEVAL = {"task_id": "HumanEval/0", "prompt": PROMPT, "canonical_solution": "    return False\n", "test": "x"}
MBPP = {"task_id": 2, "text": "Write a function to rank the shared elements of the two given lists.", "code": "x = 1"}


def program(name, body="    return x"):
    return f"def {name}(x):\n{body}"


def row(id, code, instruction="Do it."):
    return {"id": id, "instruction": instruction, "response": f"```python\n{code}\n```"}


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def benchmarks(tmp_path):
    return [
        str(write(tmp_path / "he.jsonl.gz", [HUMANEVAL])),
        str(write(tmp_path / "mbpp.jsonl", [MBPP])),
    ]


LONG = "\n".join(f"    step_{number} = x + {number}" for number in range(40))
ROWS = [
    row(1, program("f", "    print(x)\n    return x + 1")),
    row(2, program("f", "    return x + 1")),
    row(3, program("g", LONG)),
    row(4, program("g", LONG + "\n    return x")),
    row(5, "x = 1"),
    row(6, program("h", "    print(x)")),
    row(7, "def f(:"),
    row(8, program("k"), "Please write a FUNCTION to rank the shared elements of the two lists."),
    row(9, "def m(numbers):\n    # whether any two of the numbers are closer to each other\n    return numbers"),
    row(10, program("n", "    return '" + "n" * 3000 + "'")),
    row(11, program("p", "    return -x")),
]


def test_each_filter_counts_what_it_drops(tmp_path, benchmarks):
    loaded = seeds.load("evol", write(tmp_path / "e.jsonl", ROWS), decontaminate=benchmarks, max_characters=2500)
    assert [seed.id for seed in loaded.seeds] == ["evol_1", "evol_11", "evol_3"]
    assert loaded.seeds[0] == Seed("evol_1", "evol", "def f(x):\n    return x + 1", "Do it.")
    assert {row.id: (row.reason, row.detail) for row in loaded.rejections} == {
        "evol_10": ("long", "3023 characters, to be at most 2500"),
        "evol_2": ("duplicate", "of evol_1, similarity 1.00"),
        "evol_4": ("near duplicate", "of evol_3, similarity 0.99"),
        "evol_5": ("no function or class", ""),
        "evol_6": ("does nothing", ""),
        "evol_7": ("not python", "invalid syntax (line 1)"),
        "evol_8": ("in a benchmark", "mbpp/2: write a function to rank the shared elements of the"),
        "evol_9": ("in a benchmark", "HumanEval/0: whether any two of the numbers are closer to each"),
    }
    assert [row.id for row in loaded.rejections] == sorted(row.id for row in loaded.rejections)
    assert list(loaded.counts.items()) == [
        *[("read", 11), ("not python", 1), ("no function or class", 1), ("does nothing", 1), ("long", 1)],
        *[("in a benchmark", 2), ("duplicate", 1), ("near duplicate", 1), ("kept", 3)],
    ]


def test_without_a_benchmark_it_says_so(tmp_path, caplog, benchmarks):
    path = write(tmp_path / "e.jsonl", ROWS[:3])
    with caplog.at_level(logging.WARNING):
        assert seeds.load("evol", path, decontaminate=[]).counts["not decontaminated"] == 2
    assert "NOT decontaminated" in caplog.text
    caplog.clear()
    assert "not decontaminated" not in seeds.load("evol", path, decontaminate=benchmarks[0]).counts
    assert caplog.text == ""


def test_length_is_more_than_a_hundred_for_stack(tmp_path):
    def rows(source, column):
        texts = [program("f", f"    return '{'x' * (size - 23)}'") for size in (100, 101)]
        assert [len(text) for text in texts] == [100, 101]
        wrapped = [text if column == "content" else f"```python\n{text}\n```" for text in texts]
        path = write(tmp_path / f"{source}.jsonl", [{column: text, "instruction": "i"} for text in wrapped])
        return seeds.load(source, path, decontaminate=[]).counts

    assert rows("stack", "content") == {"read": 2, "short": 1, "kept": 1, "not decontaminated": 1}
    assert rows("evol", "response") == {"read": 2, "kept": 2, "not decontaminated": 2}


def test_the_first_that_pass(tmp_path):
    bad = {"content": "short = 1"}
    rows = [bad, *({"content": program(f"f{n}", LONG.replace("step", f"s{n}"))} for n in range(4)), {"wrong": "unread"}]
    path = write(tmp_path / "s.jsonl", rows)
    loaded = seeds.load("stack", path, first=3, decontaminate=[])
    assert [seed.id for seed in loaded.seeds] == [f"bigcode_python_fns_{n}" for n in (1, 2, 3)]
    assert loaded.counts["read"] == 4
    with pytest.raises(ValueError, match="line 6: a row of stack lacks content"):
        seeds.load("stack", path, decontaminate=[])


def test_a_draw_depends_on_seed_and_ids_alone(tmp_path):
    def draw(count, seed, rows):
        return [
            s.id
            for s in seeds.load("evol", write(tmp_path / "e.jsonl", rows), count=count, seed=seed, decontaminate=[])[0]
        ]

    rows = [row(n, program(f"f{n}", f"    return x * {n} - {n}")) for n in range(30)]
    five = draw(5, 0, rows)
    assert len(five) == 5 and five == sorted(five) and five == draw(5, 0, rows[::-1])
    assert set(five) < set(draw(6, 0, rows))
    assert (
        five != draw(5, 1, rows)
        and five != sorted(s.id for s in seeds.load("evol", tmp_path / "e.jsonl", decontaminate=[])[0])[:5]
    )
    assert len(draw(0, 0, rows)) == 30
    counts = seeds.load("evol", tmp_path / "e.jsonl", count=5, decontaminate=[]).counts
    assert counts == {"read": 30, "not drawn": 25, "kept": 5, "not decontaminated": 5}


BODIES = [
    "return x",
    "return x + 1",
    "print(x)",
    "return (",
    "pass",
    LONG.strip(),
    LONG.strip() + "\n    return 7",
    PROMPT,
]


@given(st.lists(st.sampled_from(BODIES), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_every_row_is_accounted_for(tmp_path_factory, bodies, random):
    folder = tmp_path_factory.getbasetemp()
    held_out = [str(write(folder / "held.jsonl", [HUMANEVAL]))]
    rows = [row(n, program("f", "    " + body.strip().replace("'''", '"'))) for n, body in enumerate(bodies)]
    once = seeds.load("evol", write(folder / "once.jsonl", rows), decontaminate=held_out)
    random.shuffle(rows)
    assert seeds.load("evol", write(folder / "again.jsonl", rows), decontaminate=held_out) == once
    left_out = collections.Counter(r.reason for r in once.rejections)
    assert once.counts == {"read": len(rows), "kept": len(once.seeds)} | left_out
    assert len(rows) == len(once.seeds) + len(once.rejections)
    assert {s.id for s in once.seeds} | {r.id for r in once.rejections} == {f"evol_{n}" for n in range(len(rows))}
    assert left_out.keys() <= set(seeds.REASONS)


def loaded(tmp_path, label, *programs, **knobs):
    rows = [row(number, code) for number, code in enumerate(programs)]
    return seeds.load("evol", write(tmp_path / f"{label}.jsonl", rows), label=label, decontaminate=(), **knobs)


def test_sources_do_not_repeat_one_another(tmp_path):
    long, longer, own = program("g", LONG), program("g", LONG + "\n    return x"), program("k", "    return x + 1")
    one = loaded(tmp_path, "a", long, program("f", "    return x * 3"), own)
    other = loaded(tmp_path, "b", longer, program("f", "    return  x*3"), program("m", "    return [x, x]"), count=3)
    assert len(one.seeds) == len(other.seeds) == 3
    first, second = seeds.apart([one, other])
    assert first == one and [seed.id for seed in second.seeds] == ["b_2"]
    assert [(gone.id, gone.reason, gone.detail[:6]) for gone in second.rejections] == [
        ("b_0", "near duplicate", "of a_0"), ("b_1", "duplicate", "of a_1"),
    ]  # fmt: skip
    assert second.counts == {
        "read": 3, "duplicate": 1, "near duplicate": 1, "kept": 1, "not decontaminated": 1,
    }  # fmt: skip
    assert seeds.apart([other, one]) == [second, first]
    assert [seed.id for seed in seeds.apart([one, other], near_duplicates=0)[1].seeds] == ["b_0", "b_2"]


def test_what_was_not_drawn_stays_counted(tmp_path):
    codes = [program(f"f{number}", f"    return [x, {number}]") for number in range(4)]
    one, other = loaded(tmp_path, "a", *codes), loaded(tmp_path, "b", *codes, count=1)
    assert seeds.apart([one, other], near_duplicates=0)[1].counts == {
        "read": 4, "duplicate": 1, "not drawn": 3, "kept": 0, "not decontaminated": 0,
    }  # fmt: skip


def test_progress_where_it_is_asked_for(tmp_path, capsys):
    codes = [program(f"f{number}", f"    return [x, {number}]") for number in range(4)]
    loaded(tmp_path, "a", *codes)
    assert capsys.readouterr().out == ""
    loaded(tmp_path, "a", *codes, show=True)
    assert "duplicates 4/4" in capsys.readouterr().out


def test_half_a_character_in_an_instruction(tmp_path):
    path = write(tmp_path / "a.jsonl", [row(1, program("f"), "Do it \ud83d!")])
    (seed,) = seeds.load("evol", path, decontaminate=()).seeds
    assert seed.instruction == "Do it \ufffd!"


def test_a_real_package_goes_through(benchmarks):
    loaded = seeds.load("package", "statistics", decontaminate=benchmarks)
    assert "statistics_median_low" in {seed.id for seed in loaded.seeds}
    assert all(seed.licence == "PSF-2.0" and len(seed.program) > 100 for seed in loaded.seeds)
    assert loaded.counts["kept"] == len(loaded.seeds) > 20
    functions = seeds.load("package", "statistics", decontaminate=benchmarks, classes=False)
    assert {s.id for s in loaded.seeds} - {s.id for s in functions.seeds} == {"statistics_NormalDist"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "evil"}, "no source of seeds 'evil': there are evol, oss, stack, stdlib, package, folder"),
        ({"source": "stdlib", "path": "src"}, "'stdlib' takes no path"),
        ({"source": "package"}, "'package' wants a path: the name to import"),
        ({"source": "folder"}, "'folder' wants a path"),
        ({"source": "folder", "path": "x", "hub_id": "a/b"}, "hub_id 'a/b' is for a table"),
        ({"source": "evol", "path": "x", "hub_id": "a/b"}, "hub_id 'a/b' is for a table"),
        ({"source": "evol", "licence": "MIT"}, "a licence can be given for a package or folder"),
        (
            {"source": "stdlib", "decontaminate": ["nothing.jsonl"]},
            "no benchmark 'nothing.jsonl': known by name are humaneval",
        ),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        seeds.load(**arguments)


def test_benchmarks_that_cannot_be_compared_with(tmp_path):
    with pytest.raises(ValueError, match=r"b.jsonl line 1: a row to compare with holds prompt, .*, not answer"):
        heldout.benchmarks([str(write(tmp_path / "b.jsonl", [{"answer": "x"}]))], 10)
    with pytest.raises(ValueError, match=r"c.jsonl has no text that is long enough"):
        heldout.benchmarks([str(write(tmp_path / "c.jsonl", [{"text": "too short"}]))], 10)


def test_benchmarks_by_name_come_from_the_hub(monkeypatch):
    asked = []

    def read_hub(hub_id, split, config):
        asked.append((hub_id, split, config))
        yield "row 1", MBPP if "mbpp" in hub_id else HUMANEVAL

    monkeypatch.setattr(heldout._rows, "read_hub", read_hub)
    found = heldout.benchmarks(["humaneval", "mbpp"], 10)
    assert found.find(MBPP["text"])[0] == "mbpp/2" and found.find(PROMPT)[0] == "HumanEval/0"
    assert asked == [
        ("openai/openai_humaneval", "test", None),
        ("google-research-datasets/mbpp", "train+test+validation+prompt", "full"),
    ]


def test_seeds_and_rejections_go_to_json_and_back():
    for record in (Seed("a", "b", "c", "d", "e"), Rejection("a", "short", "why")):
        assert type(record).from_json(json.loads(json.dumps(record.to_json()))) == record
