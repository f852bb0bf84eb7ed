"""A reply that should be {"question": "...", "tests": ["assert ...", ...]}, read with what models make of that.

Fences, text and thoughts around it, Python's quotes in place of JSON's, a reply that was cut short, quotes that nobody
escaped: each is tried in turn, and what had to be done is counted.
"""

import ast
import collections
import dataclasses
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

import jiter

from acecoder_jax import prompts

LAST_WORD = 8  # characters before the end where a cut number, word or escape is first found wrong
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
_QUESTION = re.compile(r'"question"\s*:\s*"(?P<text>.*?)"\s*,?\s*"tests"\s*:', re.DOTALL)
_TESTS = re.compile(r'"tests"\s*:\s*\[?')
_NEXT = re.compile(r'"\s*,\s*"(?=\s*assert\b)|\n')  # between two tests of which at least one is broken
_REMARK = re.compile(r'(?<=")\s*,?\s*(?://|#).*$')  # after a test
_CLOSING = '",]}` \n'  # what may follow a test that is not quoted as it should be


@dataclasses.dataclass(frozen=True)
class Reply:
    """tests: the texts, unchecked. repaired, refused: counts by what was done, and why an item was left out."""

    question: str
    tests: tuple[str, ...]
    repaired: Mapping[str, int]
    refused: Mapping[str, int]


class Unreadable(Exception):  # noqa: N818 - it reads as what happened
    """reason: empty_reply, not_json, wrong_schema or no_question."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def read(text: str) -> Reply:
    """The question and the tests of a reply. Unreadable."""
    if not text.strip():
        raise Unreadable("empty_reply", "the reply is empty")
    repaired: collections.Counter[str] = collections.Counter()
    bare = _THOUGHTS.sub("", text)
    repaired["thoughts"] += bare != text
    value = _value(bare.strip(), repaired)
    if value is None:
        raise Unreadable("not_json", f"no JSON object in {text!r:.200}")
    if not isinstance(value, dict) or not value.keys() >= {"question", "tests"}:
        found = f"the keys {', '.join(map(str, value))}" if isinstance(value, dict) else f"a {type(value).__name__}"
        raise Unreadable("wrong_schema", f"question and tests are wanted, the reply has {found}"[:400])
    question, tests = value["question"], value["tests"]
    if isinstance(tests, str):
        repaired["tests_in_one_text"] += 1
        tests = [tests]
    if not isinstance(question, str) or not isinstance(tests, list):
        kinds = f"a {type(question).__name__} and a {type(tests).__name__}"
        raise Unreadable("wrong_schema", f"a text and a list are wanted as question and tests, not {kinds}")
    if not question.strip():
        raise Unreadable("no_question", "the question is empty")
    texts = tuple(test for test in tests if isinstance(test, str))
    refused = {"no_text": len(tests) - len(texts)} if len(texts) < len(tests) else {}
    return Reply(prompts.encodable(question.strip()), texts, +repaired, refused)


def _value(text: str, repaired: collections.Counter[str]) -> Any:
    """The JSON value in a text, by the first way that gives one; None where there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    start = text.find("{")
    if start < 0:
        return None
    before, body = text[:start], text[start:]
    repaired["fence" if "```" in before else "text_around"] += bool(before.strip())
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(body)  # strict=False: line ends within strings
        repaired["text_around"] += bool(body[end:].strip().strip("`").strip()) and not before.strip()
        return value
    except (ValueError, RecursionError):
        pass
    for name, way in (("truncated", _truncated), ("python_quotes", _python), ("broken_json", _by_hand)):
        value = way(body)
        if value is not None:
            repaired[name] += 1
            return value
    return None


def _truncated(body: str) -> Any:
    """What is whole of JSON that was cut short; a string that was cut is left out. None of JSON broken elsewhere."""
    try:
        json.JSONDecoder(strict=False).raw_decode(body)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Unterminated string") and error.pos < len(body.rstrip()) - LAST_WORD:
            return None
    except RecursionError:
        return None
    try:
        return jiter.from_json(body.encode(errors="replace"), partial_mode=True)
    except ValueError:
        return None


def _python(body: str) -> Any:
    """A dict as Python writes it."""
    end = body.rfind("}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(body[: end + 1])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _by_hand(body: str) -> Any:
    """Question and tests found by the words around them, where strings are not quoted as JSON has it."""
    question, begin = _QUESTION.search(body), _TESTS.search(body)
    if question is None or begin is None:
        return None
    tests = []
    for part in _NEXT.split(body[begin.end() :]):
        at = part.find("assert ")
        if at >= 0:
            tests.append(_test(_REMARK.sub("", part[at:])))
    return {"question": _unescaped(question["text"]), "tests": tests}


def _test(text: str) -> str:
    """The test that a piece begins with: Python once the signs that close it are gone, or it is none."""
    for end in range(len(text), 0, -1):
        for test in (text[:end], _unescaped(text[:end])):
            if _is_python(test):
                return test
        if text[end - 1] not in _CLOSING:
            break
    return text


def _is_python(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _unescaped(text: str) -> str:
    try:
        return json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text.replace('\\"', '"').replace("\\n", "\n")
