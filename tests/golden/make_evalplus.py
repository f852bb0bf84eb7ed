"""Records the verdicts of the package evalplus.

    python tests/golden/make_evalplus.py --evalplus=$(bash bench/make_peer_env.sh evalplus)

tests/golden/evalplus.json: problems of our own in the release's form, with EvalPlus' names where these choose a rule;
programs for them; and whether each passed base and plus in evalplus 0.3.1.
"""

import argparse
import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "bench")]

import verdicts  # noqa: E402

from acecoder_jax import store  # noqa: E402

# name: (task, entry point, parameters, reference's body, base inputs, plus inputs, tolerance)
HUMANEVAL = [
    ("HumanEval/1", "mean", "xs", "return sum(xs) / len(xs)", [[[1, 2]], [[0.1, 0.2]]], [[[1e9, 3e9, 7.5]], [[-1]]], 0),
    ("HumanEval/2", "near", "xs", "return [x / 3 for x in xs]", [[[1, 2]]], [[[1000000, 5]], [[]]], 0.01),
    ("HumanEval/3", "order", "xs", "xs.sort()\nreturn xs", [[[3, 1, 2]]], [[[]], [["b", "a"]]], 0),
    ("HumanEval/4", "written", "n", "return ' '.join(map(str, range(n + 1)))", [[3]], [[0], [60000]], 0),
    ("HumanEval/5", "squares", "n", "return [x * x for x in range(n)]", [[3]], [[40000], [0]], 0),
    ("HumanEval/6", "half", "n", "return n / 2 if n % 2 else n // 2", [[2], [4]], [[1], [1000000000], [8]], 0),
    ("HumanEval/7", "count", "text", "return {one: text.count(one) for one in text}", [["aab"]], [[""], ["é\n'"]], 0),
    ("HumanEval/8", "ends", "xs", "return (xs[0], xs[-1]) if xs else None", [[[1, 2]]], [[[]], [[[1], "a"]]], 0),
    ("HumanEval/9", "late", "n", "end = time.process_time() + n\nwhile time.process_time() < end: pass\nreturn n",
     [[0.01]], [[0.3], [0.02]], 0),
    ("HumanEval/32", "find_zero", "xs", "return -xs[0] / xs[1]", [[[1, 2]]], [[[4, 1]], [[0, 3]]], 1e-4),
]  # fmt: skip
MBPP = [
    ("Mbpp/2", "similar_elements", "a, b", "return tuple(set(a) & set(b))", [[[1, 2], [2, 3]]], [[[], [1]]], 0),
    ("Mbpp/115", "empty_dit", "xs", "return all(not x for x in xs)", [[[[], []]]], [[[[1], []]], [[[3, 4]]]], 0),
    ("Mbpp/124", "angle", "a, b", "return (a + b).real * 1.1", [["1", "2j"]], [["0.5", "(1+1j)"]], 0),
    ("Mbpp/164", "are_equivalent", "a, b", "return a == b", [[1, 2], [3, 3]], [[36, 57]], 0),
    ("Mbpp/278", "before", "xs", "return [type(x) is tuple for x in xs].index(True)", [[[1, [2], 3]]], [[[[0], 1]]], 0),
    ("Mbpp/295", "sum_div", "n", "return sum(d for d in range(1, n) if n % d == 0)", [[8], [12]], [[7], [1]], 0),
    ("Mbpp/558", "digit_distance_nums", "a, b", "return sum(map(int, str(abs(a - b))))", [[1, 2]], [[23, 56], [123, 6]],
     0),
    ("Mbpp/580", "kept", "xs", "return tuple(x for x in xs if type(x) is tuple)", [[[1, [2, [3]]]]], [[[]], [[[1]]]],
     0),
    ("Mbpp/581", "surface_Area", "b, s", "return 2 * b * s + b * b", [[3, 4], [4, 5]], [[1, 2], [10, 3]], 0),
    ("Mbpp/722", "those", "d, n", "return {k: v for k, v in d.items() if v >= (n,)}", [[{"a": [1, 2]}, 1]],
     [[{}, 3]], 0),
    ("Mbpp/769", "Diff", "a, b", "return list(set(a) - set(b))", [[[1, 2], [2]]], [[[3, 1, 2], [9]]], 0),
    ("Mbpp/794", "text_starta_endb", "text", "return re.search('a.*?b$', text)", [["aab"], ["abc"]],
     [["accddbbjjjb"]], 0),
]  # fmt: skip
# More programs, by entry point: (what is particular, the body).
MORE = {
    "half": [
        ("off by one after a float", "return n / 2 if n % 2 else n // 2 + (n > 100)"),
        ("off by one before a float", "return n / 2 if n % 2 else n // 2 + (n == 2)"),
    ],
    "near": [
        ("inside the tolerance", "return [x / 3 + 0.009 for x in xs]"),
        ("relative", "return [x / 3 * (1 + 4e-8) for x in xs]"),
        ("outside the tolerance", "return [x / 3 + 0.02 for x in xs]"),
        ("a tuple", "return tuple(x / 3 + 0.001 for x in xs)"),
        ("longer", "return [x / 3 for x in xs] + [0.0]"),
        ("nested", "return [[x / 3] for x in xs]"),
    ],
    "mean": [
        ("within 1e-7 of a large one", "return sum(xs) / len(xs) * (1 + 9e-8)"),
        ("nan", "return float('nan')"),
        ("an int", "return int(sum(xs) / len(xs))"),
        ("a complex number", "return complex(sum(xs) / len(xs))"),
        ("list shadowed", "return sum(xs) / len(xs)\n\nlist = len = str = isinstance = type = None\nsum = sum"),
    ],
    "late": [
        ("a little late", "end = time.process_time() + n + 0.1\nwhile time.process_time() < end: pass\nreturn n"),
        ("far too late", "end = time.process_time() + 9\nwhile time.process_time() < end: pass\nreturn n"),
    ],
    "written": [
        ("the last digit wrong", "return ' '.join(map(str, range(n + 1)))[:-1] + '7'"),
        ("recursive", "return '0' if n == 0 else written(n - 1) + ' ' + str(n)"),
        ("what pieces look like", "return ('a result in pieces', 'str', 3)"),
    ],
    "squares": [
        ("a tuple", "return tuple(x * x for x in range(n))"),
        ("floats", "return [float(x * x) for x in range(n)]"),
        ("a generator", "return (x * x for x in range(n))"),
        ("a range's last one", "return [x * x for x in range(n)][:-1] + [n * n]"),
    ],
    "count": [("a Counter", "return collections.Counter(text)"), ("a list", "return list(text)")],
    "ends": [("an equal instance", "class E:\n    def __eq__(self, other): return False\nreturn E()")],
    "find_zero": [("far", "return 0"), ("near", "return -xs[0] / xs[1] + 1e-5")],
    "similar_elements": [
        ("a list", "return list(set(a) & set(b)) * 2"),
        ("a map", "return map(int, set(a) & set(b))"),
        ("a string", "return ''"),
        ("unhashable", "return [[x] for x in a]"),
    ],
    "are_equivalent": [("anything", "return 'x'"), ("raises", "raise ValueError"), ("none", "return None")],
    "sum_div": [("zero", "return 0"), ("one", "return 1"), ("zero, a float", "return 0.0")],
    "digit_distance_nums": [
        ("place by place", "a, b = str(a).zfill(9), str(b).zfill(9)\n"
                           "return sum(abs(int(x) - int(y)) for x, y in zip(a, b))"),
        ("other", "return abs(a - b)"),
    ],
    "surface_Area": [
        ("by the height", "return round(b * b + 2 * b * ((b / 2) ** 2 + s * s) ** 0.5)"),
        ("not rounded", "return b * b + 2 * b * ((b / 2) ** 2 + s * s) ** 0.5"),
        ("a string", "return str(b)"),
    ],
    "text_starta_endb": [
        ("a bool", "return bool(re.search('a.*?b$', text))"),
        ("a string or none", "return 'Found' if re.search('a.*?b$', text) else None"),
        ("a string", "return 'Found' if re.search('a.*?b$', text) else 'Not'"),
        ("another regex", "return re.match('a', text)"),
        ("an int", "return 1 if re.search('a.*?b$', text) else 0"),
    ],
    "Diff": [("both ways", "return list(set(a) ^ set(b))"), ("a set", "return set(a) - set(b)")],
    "angle": [("real", "return (a + b).real * 1.1 + 1e-8"), ("complex", "return (a + b) * 1.1")],
}  # fmt: skip
IMPORTS = "import collections\nimport re\nimport time\n\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evalplus", required=True, help="a Python that has evalplus: bench/make_peer_env.sh")
    flags = parser.parse_args()
    record = {}
    for name, problems in (("humaneval", HUMANEVAL), ("mbpp", MBPP)):
        rows = [row(*problem) for problem in problems]
        made = verdicts.programs(rows, count=3, kinds=9)
        samples = {sample: one for sample, one in made.items() if "|late|" not in sample}  # a second each
        for problem in problems:
            for kind, body in MORE.get(problem[1], ()):
                samples[f"{problem[0]}|{kind}|own"] = problem[0], IMPORTS + function(problem[1], problem[2], body)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.jsonl"
            store.write_jsonl(path, rows)
            found = verdicts.official(flags.evalplus, name, path, samples, workers=2)
        record[name] = {
            "problems": rows,
            "samples": [[sample, *samples[sample], *found[sample]] for sample in samples],
        }
        print(name, len(rows), "problems,", len(samples), "programs,", sum(map(all, found.values())), "passed")
    (HERE / "evalplus.json").write_text(json.dumps(record, indent=0) + "\n")


def row(task: str, name: str, parameters: str, body: str, base: list, plus: list, tolerance: float) -> dict:
    """A row of the release."""
    prompt = f'{IMPORTS}def {name}({parameters}):\n    """Task {task}."""\n'
    code = "".join(f"    {line}\n" for line in body.split("\n"))
    if task.startswith("Mbpp"):
        prompt, code = f'"""\nTask {task}.\n"""\n', f"{IMPORTS}def {name}({parameters}):\n{code}"
    return {
        "task_id": task, "prompt": prompt, "entry_point": name, "canonical_solution": code, "contract": "",
        "base_input": base, "plus_input": plus, "atol": tolerance,
    }  # fmt: skip


def function(name: str, parameters: str, body: str) -> str:
    """A program of one function."""
    return f"def {name}({parameters}):\n" + "".join(f"    {line}\n" for line in body.split("\n"))


if __name__ == "__main__":
    main()
