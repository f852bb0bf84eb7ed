"""MBPP's training questions once more, in the shape of HumanEval's: a signature with a docstring and two examples.

    python docs/results/reward_model/mbpp_stubs.py mbpp.jsonl.gz > stubs.jsonl

A question is left out where an assert does not compare a call of constants with a constant. Every second one has types.
"""

import ast
import gzip
import json
import re
import sys
import textwrap
from typing import Any

TRAINING = range(601, 975)


def kind(value: Any) -> str:
    """A value's type as an annotation: [1, 2] -> List[int], ("a", 1) -> Tuple[str, int]."""
    match value:
        case list() | set():
            name, inner = type(value).__name__.capitalize(), sorted({kind(each) for each in value})
            return f"{name}[{inner[0]}]" if len(inner) == 1 else name
        case tuple():
            return f"Tuple[{', '.join(map(kind, value))}]" if 0 < len(value) <= 3 else "Tuple"
        case dict():
            return "Dict"
    return type(value).__name__ if value is not None else "None"


def example(test: str) -> tuple[str, list[Any], Any]:
    """`assert f(1, "a") == 2` -> ("f", [1, "a"], 2); ValueError where it is anything else."""
    match ast.parse(test).body:
        case [ast.Assert(ast.Compare(ast.Call(ast.Name(name), arguments, []), [ast.Eq()], [returned]))]:
            return name, [ast.literal_eval(each) for each in arguments], ast.literal_eval(returned)
    raise ValueError(f"no call of constants beside a constant: {test}")


def stub(row: dict[str, Any]) -> str:
    """The question as the beginning of a function, in a block of code as EvalPlus' prompts have it."""
    examples = [example(test) for test in row["test_list"]]
    name, values, returned = examples[0]
    made = {node.name: node for node in ast.parse(row["code"]).body if isinstance(node, ast.FunctionDef)}
    names = [argument.arg for argument in made[name].args.args]
    if any(len(names) != len(given) for _, given, _ in examples):
        raise ValueError("defaults in use")
    head, tail, imports = ", ".join(names), "", ""
    if row["task_id"] % 2 == 0:
        kinds = [kind(value) for value in values]
        head = ", ".join(f"{argument}: {each}" for argument, each in zip(names, kinds, strict=True))
        tail = f" -> {kind(returned)}"
        needed = [each for each in ("Dict", "List", "Set", "Tuple") if any(each in text for text in [*kinds, tail])]
        imports = f"from typing import {', '.join(needed)}\n\n\n" if needed else ""
    said = re.sub(r"^Write a (python )?function (to|that|which) ", "", row["text"].strip(), flags=re.IGNORECASE)
    lines = textwrap.wrap(said[0].upper() + said[1:], 76)
    for _, given, value in examples[:2]:
        lines += [f">>> {name}({', '.join(map(repr, given))})", f"{value!r}"]
    body = "\n".join(f"    {line}" for line in lines)
    return f'```python\n{imports}def {name}({head}){tail}:\n    """ {body.strip()}\n    """\n```'


def main(path: str) -> None:
    """Prints a JSON line for each question that has the shape; its id is the question's own."""
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        if row["task_id"] not in TRAINING:
            continue
        try:
            question = stub(row)
        except (ValueError, KeyError, SyntaxError):
            continue
        names = {"id": f"mbpp_{row['task_id']}", "source": "mbpp_stub", "question": question}
        print(json.dumps(names | {"test_cases": row["test_list"], "n_tests_all": len(row["test_list"])}))


if __name__ == "__main__":
    main(sys.argv[1])
