"""Requests without messages, which go on from a text, and strings that end a text: of endpoints and their batches."""

import json

import pytest

from acecoder_jax import writers
from acecoder_jax.writers import Request
from tests.writers.hostile_endpoint import Answer, Batches, Server, chunk, error, says, streams

USAGE = {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}


def completes(text, finish="stop"):
    """A reply of the completions API."""
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    body = {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
    return Answer(body | {"usage": USAGE})


def completes_in_pieces(*texts):
    def piece(text, finish=None):
        choices = [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None}]
        return {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": choices}

    last = piece("", "length") | {"choices": [], "usage": USAGE}
    return Answer(pieces=[*(piece(text) for text in texts), piece("", "length"), last, "[DONE]"])


def bare(text, **more):
    return Request("a", (), prefix=text, **({"max_tokens": 7, "temperature": 0.0} | more))


def chat(**more):
    return Request("a", ({"role": "user", "content": "hi"},), **more)


def test_a_model_goes_on_from_a_bare_text(endpoint):
    with Server(lambda asked: completes("    return 1", "length")) as server:
        (reply,) = endpoint(server).write([bare("def f():\n", seed=3, stop=("\ndef", "\nclass"))])
    assert (reply.text, reply.finish) == ("def f():\n    return 1", "length")
    assert (reply.prompt_tokens, reply.completion_tokens) == (8, 4)
    (asked,) = server.asked
    assert asked.path == "/v1/completions" and asked.body == {
        "model": "m", "prompt": "def f():\n", "max_tokens": 7, "temperature": 0.0, "top_p": 1.0, "seed": 3,
        "stop": ["\ndef", "\nclass"],
    }  # fmt: skip


def test_a_stream_of_a_bare_text(endpoint):
    with Server(lambda asked: completes_in_pieces("    ret", "urn 1")) as server:
        (reply,) = endpoint(server, stream=True).write([bare("def f():\n")])
        assert server.asked[0].body["stream_options"] == {"include_usage": True}
    assert (reply.text, reply.finish, reply.completion_tokens) == ("def f():\n    return 1", "length", 4)


def test_a_text_without_usage_is_estimated_with_its_prefix(endpoint):
    def answer(asked):
        return Answer({key: value for key, value in completes("x" * 8).body.items() if key != "usage"})

    with Server(answer) as server:
        (reply,) = endpoint(server).write([bare("y" * 40)])
    assert (reply.prompt_tokens, reply.completion_tokens) == (10, 2)


@pytest.mark.parametrize("stream", [False, True])
def test_an_endpoint_that_does_not_stop_has_its_text_cut(endpoint, stream):
    answer = streams if stream else says
    with Server(lambda asked: answer("def f(): pass\nassert f()\nprint(f())", "length")) as server:
        (reply,) = endpoint(server, stream=stream).write([chat(stop=("\nprint(", "\nassert "))])
    assert (reply.text, reply.finish) == ("def f(): pass", "stop")


def test_the_begun_part_of_a_reply_does_not_end_it(endpoint):
    with Server(lambda asked: says("x = 1\n```\nDone.", "stop")) as server:
        (reply,) = endpoint(server, prefix="continue").write([chat(prefix="Here:\n```python\n", stop=("\n```",))])
    assert reply.text == "Here:\n```python\nx = 1"


def test_a_lost_stream_that_had_its_end_is_whole(endpoint, tmp_path):
    pieces = [chunk({"content": "one\nST"}), chunk({"content": "OP two"})]
    with Server(lambda asked: Answer(pieces=pieces, cut=True)) as server:
        writer = endpoint(server, stream=True, attempts=1, cache=str(tmp_path))
        replies = [next(iter(writer.write([chat(stop=stop)]))) for stop in (("\nSTOP",), ("\nSTOP",), ("\nnever",))]
    told = [(reply.text, reply.finish, reply.cached) for reply in replies]
    assert told == [("one", "stop", False), ("one", "stop", True), ("one\nSTOP two", "cut", False)]


@pytest.mark.parametrize(("most", "sent"), [(4, [9, 4, 4]), (0, [9, 4, 0, 0])])
def test_endpoints_that_take_few_stop_strings_or_none(endpoint, caplog, most, sent):
    def answer(asked):
        if len(asked.body.get("stop", [])) > most:
            return error(400, f"Invalid 'stop': array too long, expected at most {most}")
        return says("def f(): pass\n9 more")

    with Server(answer) as server:
        writer = endpoint(server)
        for _ in range(2):
            (reply,) = writer.write([chat(stop=tuple(f"\n{n}" for n in range(1, 10)))])
            assert (reply.text, reply.finish) == ("def f(): pass", "stop")
    assert [len(asked.body.get("stop", [])) for asked in server.asked] == sent  # learned once
    assert sum("goes on without it" in record.message for record in caplog.records) == len(sent) - 2


def test_stop_strings_are_part_of_what_was_asked(endpoint, tmp_path):
    with Server(lambda asked: says("one two")) as server:
        writer = endpoint(server, cache=str(tmp_path))
        texts = [next(iter(writer.write([chat(stop=stop)]))).text for stop in ((), (" two",), (), (" two",))]
        assert texts == ["one two", "one", "one two", "one"] and len(server.asked) == 2


def test_a_batch_holds_chats_and_four_stop_strings(tmp_path):
    api = Batches(lambda body: (200, says("one\n9 two").body))
    with Server(api) as server:
        knobs = {"base_url": server.url, "model": "m", "key_env": "TEST_KEY", "poll_s": 0.0}
        with writers.make("batch", folder=str(tmp_path / "a"), **knobs) as writer:
            (reply,) = writer.write([chat(stop=tuple(f"\n{n}" for n in range(1, 10)))])
            with pytest.raises(ValueError, match="a batch holds chats, and 'a' has no messages"):
                list(writer.write([bare("def f():")]))
    assert (reply.text, reply.finish) == ("one", "stop")
    (sent, *_) = api.files.values()
    assert json.loads(sent[1].splitlines()[0])["body"]["stop"] == ["\n1", "\n2", "\n3", "\n4"]
