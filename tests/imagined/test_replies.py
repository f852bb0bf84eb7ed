import json

import pytest

from acecoder_jax.imagined import replies

TESTS = ["assert f(1) == 2", 'assert f("a") == "b"']
WHOLE = json.dumps({"question": "What?", "tests": TESTS})


def read(text):
    reply = replies.read(text)
    return reply.question, list(reply.tests), dict(reply.repaired)


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        (WHOLE, {}),
        (json.dumps(json.loads(WHOLE), indent=2) + "\n", {}),
        (f"```json\n{WHOLE}\n```", {"fence": 1}),
        (f"```\n{WHOLE}\n```\nI hope this helps {{you}}.", {"fence": 1}),
        (f"Here it is:\n{WHOLE}", {"text_around": 1}),
        (f"{WHOLE}\n\nDone.", {"text_around": 1}),
        (f'<think>a {{"question": 1}}?</think>\n{WHOLE}', {"thoughts": 1}),
        (str(json.loads(WHOLE)), {"python_quotes": 1}),
        (WHOLE[:-1], {"truncated": 1}),
        (WHOLE[:-2], {"truncated": 1}),
    ],
)
def test_what_models_make_of_json(text, repaired):
    assert read(text) == ("What?", TESTS, repaired)


def test_what_is_whole_of_a_cut_reply_is_kept():
    for cut in range(WHOLE.index(TESTS[0]) + len(TESTS[0]) + 1, len(WHOLE) - 3):
        assert read(WHOLE[:cut])[:2] == ("What?", TESTS[:1])


def test_line_ends_within_strings():
    assert read('{"question": "two\nlines", "tests": ["assert f(1) == 1"]}') == (
        "two\nlines", ["assert f(1) == 1"], {}
    )  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        '{"question": "Say \\"hi\\".", "tests": ["assert f("a") == "b"", "assert f(1) == 2"]}',
        '{\n"question": "Say \\"hi\\".",\n"tests": [\n "assert f("a") == "b"", // letters\n "assert f(1) == 2"\n]\n}',
        '{\n"question": "Say \\"hi\\".",\n"tests": [\n # a\n "assert f("a") == "b"",\n "assert f(1) == 2" # b\n]}\n```',
        '{"question": "Say \\"hi\\".", "tests": [\n assert f("a") == "b",\n assert f(1) == 2\n]}',
    ],
)
def test_quotes_that_nobody_escaped(broken):
    assert read(broken) == ('Say "hi".', ['assert f("a") == "b"', "assert f(1) == 2"], {"broken_json": 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_reply"),
        (" \n", "empty_reply"),
        ("I cannot do that.", "not_json"),
        ("[1, 2]", "wrong_schema"),
        ("{no", "not_json"),
        ('{"question": "What?"}', "wrong_schema"),
        ('{"question": "What?", "tests": {"a": 1}}', "wrong_schema"),
        ('{"question": ["What?"], "tests": []}', "wrong_schema"),
        ('{"task": "What?", "tests": ["assert f(1) == 1"]}', "wrong_schema"),
        ('{"question": " ", "tests": ["assert f(1) == 1"]}', "no_question"),
        ('{"question": "What', "wrong_schema"),
        ("[" * 100_000, "not_json"),
        ('{"a":' * 100_000, "not_json"),
    ],
)
def test_what_cannot_be_read(text, reason):
    with pytest.raises(replies.Unreadable) as problem:
        replies.read(text)
    assert problem.value.reason == reason and len(problem.value.detail) < 500


def test_tests_of_other_kinds():
    reply = replies.read('{"question": "What?", "tests": ["assert f(1) == 1", 5, null, {"input": 1}]}')
    assert list(reply.tests) == ["assert f(1) == 1"] and reply.refused == {"no_text": 3}
    assert read('{"question": "What?", "tests": "assert f(1) == 1\\nassert f(2) == 2"}') == (
        "What?", ["assert f(1) == 1\nassert f(2) == 2"], {"tests_in_one_text": 1}
    )  # fmt: skip


def test_half_a_character_does_not_get_into_a_question():
    found = replies.read('{"question": "Write f. \\ud83d", "tests": ["assert f(1) == 1"]}')
    assert found.question == "Write f. \ufffd"
