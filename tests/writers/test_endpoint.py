import collections
import logging
import threading
import time

import pytest

from acecoder_jax import writers
from acecoder_jax.writers import BudgetSpent, Request, WriterError
from tests.writers.hostile_endpoint import Answer, Server, chunk, error, says, streams


def ask(*texts, **more):
    return [Request(text, ({"role": "user", "content": text},), **more) for text in texts]


def question(asked):
    return asked.body["messages"][0]["content"]


def gather(writer, requests):
    """The replies by key, and what ended the run."""
    replies = {}
    try:
        for reply in writer.write(requests):
            assert reply.key not in replies
            replies[reply.key] = reply
    except WriterError as stop:
        return replies, stop
    return replies, None


def test_a_text_with_its_tokens_and_its_cost(endpoint):
    with Server(lambda asked: says("hello", usage=(1000, 500))) as server:
        writer = endpoint(server, price_in_usd=0.15, price_out_usd=0.60)
        (reply,) = writer.write(ask("hi", temperature=0.5, top_p=0.9, max_tokens=7, seed=3))
    assert (reply.key, reply.text, reply.finish, reply.error) == ("hi", "hello", "stop", None)
    assert (reply.prompt_tokens, reply.completion_tokens) == (1000, 500)
    assert reply.cost_usd == pytest.approx(0.00015 + 0.0003) == writer.account.spent
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions" and asked.headers["authorization"] == "Bearer sk-very-secret"
    assert asked.body == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 3,
    }  # fmt: skip


def test_a_stream(endpoint):
    with Server(lambda asked: streams("hello world", "length", usage=(8, 4), parts=4)) as server:
        (reply,) = endpoint(server, stream=True).write(ask("hi"))
        assert server.asked[0].body["stream_options"] == {"include_usage": True}
    assert (reply.text, reply.finish, reply.prompt_tokens, reply.completion_tokens) == ("hello world", "length", 8, 4)


def test_every_request_has_its_reply_and_the_bound_is_held(endpoint):
    meeting = threading.Barrier(4)  # passes only once four requests are under way together

    def answer(asked):
        if asked.number <= 8:
            meeting.wait(timeout=30)
        return says(question(asked).upper())

    with Server(answer) as server:
        replies, stop = gather(endpoint(server, concurrency=4), ask(*"abcdefghijklmnop"))
        assert server.most == 4 and len(server.asked) == 16
    assert stop is None and {key: reply.text for key, reply in replies.items()} == {
        c: c.upper() for c in "abcdefghijklmnop"
    }


def test_requests_are_taken_as_there_is_room(endpoint):
    taken = []

    def source():
        for request in ask(*"abcdef"):
            taken.append(request.key)
            yield request

    with Server(lambda asked: says("x")) as server:
        replies = endpoint(server, concurrency=2).write(source())
        next(replies)
        assert taken == ["a", "b"]
        next(replies)
        assert len(taken) == 3
        replies.close()


def test_a_hostile_mix_loses_nothing(endpoint):
    """Every fault once or always: 429, 500, silence, half a body, no JSON, no completion, a broken stream."""
    faults = {
        "limited": error(429, "slow down", {"retry-after-ms": "5"}),
        "failing": error(500, "oops"),
        "mute": Answer(mute=True),
        "cut": Answer(b'{"id": "c", "choi', cut=True),
        "html": Answer(b"<html>busy</html>"),
        "torn": Answer(b'{"id": "c", "choi', headers={"Content-Type": "application/json"}),
        "empty": Answer({"id": "c", "choices": []}),
        "odd": Answer({"id": "c", "choices": [{"message": {"content": 5}}]}),
        "list": Answer([1, 2]),
    }

    def answer(asked):
        kind, _, how = question(asked).partition(" ")
        return faults[kind] if how == "always" or asked.times == 1 else says("ok")

    once, always = [f"{kind} once" for kind in faults], [f"{kind} always" for kind in faults if kind != "limited"]
    with Server(answer) as server:
        replies, stop = gather(endpoint(server, failures_in_a_row=99, concurrency=8), ask(*once, *always))
        attempts = collections.Counter(question(asked) for asked in server.asked)
    assert stop is None and replies.keys() == {*once, *always}
    assert all(replies[key].text == "ok" and replies[key].attempts == 2 for key in once)
    assert {key: replies[key].error for key in always} == {
        "failing always": "server_error", "mute always": "broken", "cut always": "broken", "html always": "bad_reply",
        "torn always": "bad_reply", "empty always": "bad_reply", "odd always": "bad_reply", "list always": "bad_reply",
    }  # fmt: skip
    assert all(replies[key].error in writers.FAILURES and replies[key].detail for key in always)
    assert all(attempts[key] == replies[key].attempts for key in replies)
    assert {attempts[key] for key in always} == {3}


def test_a_rate_limit_is_waited_for_by_everybody(endpoint):
    times = []

    def answer(asked):
        times.append(time.monotonic())
        if asked.number == 1:
            return error(429, "slow down", {"Retry-After": "0.4", "retry-after-ms": "300"})
        return says("ok")

    with Server(answer) as server:
        writer = endpoint(server, concurrency=1, attempts=1)  # a limit is no failed attempt
        replies, _ = gather(writer, ask("a", "b", "c"))
    assert len(replies) == 3 and times[1] - times[0] >= 0.3


def test_a_used_up_limit_is_seen_before_it_is_hit(endpoint):
    times = []

    def answer(asked):
        times.append(time.monotonic())
        left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "250ms"}
        return says("ok", headers=left if asked.number == 1 else {})

    with Server(answer) as server:
        gather(endpoint(server, concurrency=1), ask("a", "b"))
    assert times[1] - times[0] >= 0.25


def test_patience_ends(endpoint):
    with Server(lambda asked: error(429, "slow down", {"retry-after-ms": "20"})) as server:
        replies, stop = gather(endpoint(server, patience_s=0.05), ask("a"))
        assert stop is None and replies["a"].error == "rate_limited" and len(server.asked) == 3
    with Server(lambda asked: error(429, "slow down", {"Retry-After": "0"})) as server:
        replies, stop = gather(endpoint(server, patience_s=0.02), ask("a"))
        assert stop is None and replies["a"].error == "rate_limited" and len(server.asked) <= 21
    with Server(lambda asked: error(429, "tomorrow", {"Retry-After": "36000"})) as server:
        replies, stop = gather(endpoint(server, concurrency=1), ask("a", "b"))
        assert len(server.asked) == 1
    assert replies["a"].error == "rate_limited" and "36,000 s" in str(stop)


def test_the_clients_own_retries_are_off(endpoint):
    with Server(lambda asked: error(500, "oops")) as server:
        replies, _ = gather(endpoint(server, attempts=1), ask("a"))
        assert len(server.asked) == 1 and replies["a"].error == "server_error"


def test_time_runs_out(endpoint):
    slow = streams("abcdefgh", parts=8, pause_s=0.15)
    with Server(lambda asked: Answer(wait_s=30) if question(asked) == "silent" else slow) as server:
        silent, _ = gather(endpoint(server, stream=True, stall_s=0.3, attempts=2), ask("silent"))
        assert (silent["silent"].error, silent["silent"].attempts) == ("timeout", 2)
        # it never falls silent for long, but takes too long in all: what has come is kept, and paid for
        dripping, _ = gather(
            endpoint(server, stream=True, timeout_s=0.5, attempts=2, price_out_usd=4.0), ask("dripping")
        )
        patient, _ = gather(endpoint(server, stream=True, stall_s=5.0), ask("dripping"))
    cut = dripping["dripping"]
    assert cut.error is None and cut.finish == "cut" and cut.text and "abcdefgh".startswith(cut.text)
    assert cut.cost_usd > 0 and cut.attempts == 2
    assert patient["dripping"].text == "abcdefgh" and patient["dripping"].finish == "stop"


def test_streams_that_break(endpoint):
    answers = {
        "lost": Answer(pieces=[chunk({"content": "half"})], cut=True),
        "short": Answer(pieces=[chunk({"content": "half"}), "[DONE]"]),
        "garbled": Answer(pieces=[chunk({"content": "half"}), "{no json"]),
        "told": Answer(pieces=[chunk({"content": "half"}), {"error": {"message": "out of memory"}}]),
        "nothing": Answer(pieces=["[DONE]"]),
        "whole": says("not a stream"),
        "wrong": Answer(pieces=[{"surprise": 1}]),
    }

    def answer(asked):
        kind, _, how = question(asked).partition(" ")
        return answers[kind] if how == "always" or asked.times == 1 else streams("mended")

    once, always = [f"{kind} once" for kind in answers], [f"{kind} always" for kind in answers]
    with Server(answer) as server:
        writer = endpoint(server, stream=True, failures_in_a_row=99)
        replies, stop = gather(writer, ask(*once, *always))
    assert stop is None and replies.keys() == {*once, *always}
    assert {replies[key].text for key in once} == {"mended"}
    cut = {key for key in always if replies[key].finish == "cut"}
    assert cut == {"lost always", "short always", "garbled always", "told always"}
    assert {replies[key].text for key in cut} == {"half"}
    assert {replies[key].error for key in always if key not in cut} == {"bad_reply"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(401, "Incorrect API key provided: sk-very-secret"), "environment variable TEST_KEY"),
        (error(403, "not in your country"), "forbids"),
        (error(404, "The model `m` does not exist"), "no such model"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "no credit"),
    ],
)
def test_what_no_retry_helps_ends_the_run(endpoint, answer, told):
    with Server(lambda asked: says("ok") if question(asked) == "a" else answer) as server:
        replies, stop = gather(endpoint(server, concurrency=1), ask(*"abcde"))
        assert len(server.asked) == 2
    assert isinstance(stop, WriterError) and told in str(stop)
    assert replies.keys() == {"a", "b"} and replies["b"].error == "refused"
    assert "sk-very-secret" not in str(stop) + repr(replies)


def test_the_end_of_a_run_does_not_wait_for_backoff(endpoint):
    def answer(asked):
        return error(500, "oops") if question(asked) == "slow" else error(401, "no", wait_s=0)

    with Server(answer) as server:
        writer = endpoint(server, concurrency=2, backoff_s=36000.0, backoff_cap_s=36000.0)
        replies, stop = gather(writer, ask("slow", "wrong"))
    assert "refuses the key" in str(stop) and replies["slow"].error == "server_error"


def test_an_endpoint_that_is_down(endpoint):
    server = Server(lambda asked: says("ok"))
    with server:
        pass  # nobody listens any more
    replies, stop = gather(endpoint(server, concurrency=1), ask("a", "b"))
    assert "cannot be reached" in str(stop) and server.url in str(stop)
    assert replies.keys() == {"a"} and replies["a"].error == "unreachable" and replies["a"].attempts == 3


def test_an_endpoint_that_goes_down_in_the_middle(endpoint):
    with Server(lambda asked: says("ok")) as server:
        requests = iter(ask(*"abcdef"))

        def source():
            for number, request in enumerate(requests):
                if number == 3:
                    server.stop()
                yield request

        replies, stop = gather(endpoint(server, concurrency=1), source())
    assert "cannot be reached" in str(stop)
    assert {key: reply.error for key, reply in replies.items()} == {"a": None, "b": None, "c": None, "d": "unreachable"}


def test_failures_in_a_row_end_the_run(endpoint):
    bad = error(400, "max_tokens is too large")
    with Server(lambda asked: bad if question(asked) != "c" else says("ok")) as server:
        replies, stop = gather(endpoint(server, concurrency=1, failures_in_a_row=3), ask(*"abcdefgh"))
        assert len(server.asked) == 6  # a 400 is not tried again, and "c" breaks the first row of them
    assert "3 requests in a row" in str(stop) and "max_tokens is too large" in str(stop)
    assert {key for key, reply in replies.items() if reply.error == "bad_request"} == set("abdef")


def test_the_budget_ends_the_run_cleanly(endpoint):
    everyone = threading.Barrier(2)

    def answer(asked):
        if asked.number in (3, 4):
            everyone.wait(timeout=30)
        return says("ok", usage=(0, 1_000_000))

    prices = {"price_out_usd": 1.0, "budget_usd": 5.0}
    with Server(answer) as server:
        replies, stop = gather(endpoint(server, concurrency=2, **prices), ask(*"abcdefgh"))
        assert len(server.asked) == 5 == len(replies)  # never more than there is money for
        assert isinstance(stop, BudgetSpent) and all(reply.text == "ok" for reply in replies.values())
        later, stop = gather(endpoint(server, spent_usd=5.0, **prices), ask("i"))
        assert later == {} and isinstance(stop, BudgetSpent) and len(server.asked) == 5


def test_the_cache_costs_nothing(endpoint, tmp_path):
    with Server(lambda asked: says(f"answer {asked.number}", usage=(0, 1_000_000))) as server:
        knobs = {"cache": str(tmp_path), "price_out_usd": 1.0}
        first, _ = gather(endpoint(server, **knobs), ask("a", "b"))
        writer = endpoint(server, **knobs)
        again, _ = gather(writer, ask("a", "b"))
        assert len(server.asked) == 2 and writer.account.spent == 0
        assert {key: reply.text for key, reply in again.items()} == {key: reply.text for key, reply in first.items()}
        assert all(reply.cached and reply.cost_usd == 0 for reply in again.values())
        # anything that changes the reply asks again: the noise, the model, who is asked for which row
        gather(writer, ask("a", seed=1))
        gather(endpoint(server, **(knobs | {"model": "n"})), ask("a"))
        gather(writer, [Request("other", ({"role": "user", "content": "a"},))])
        assert len(server.asked) == 5
        for file in tmp_path.rglob("*.json"):
            assert "sk-very-secret" not in file.read_text()
            file.write_text('{"text": "to')  # as a damaged disk leaves it
        mended, _ = gather(endpoint(server, **knobs), ask("a"))
        assert len(server.asked) == 6 and mended["a"].text == "answer 6"


def test_errors_and_cut_texts_are_not_cached(endpoint, tmp_path):
    with Server(lambda asked: Answer(pieces=[chunk({"content": "half"})], cut=True)) as server:
        for _ in range(2):
            replies, _ = gather(endpoint(server, cache=str(tmp_path), stream=True, attempts=1), ask("a"))
            assert replies["a"].finish == "cut"
        assert len(server.asked) == 2 and not list(tmp_path.rglob("*.json"))


SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("knows", "sent"),
    [
        ({"json_schema", "json_object"}, [("json_schema", True)]),
        ({"json_object", "schema"}, [("json_schema", True), ("json_object", True)]),
        ({"json_object"}, [("json_schema", True), ("json_object", True), ("json_object", False)]),
        (set(), [("json_schema", True), ("json_object", True), ("json_object", False), (None, False)]),
    ],
)
def test_json_is_asked_for_as_well_as_the_endpoint_can(endpoint, caplog, knows, sent):
    def form(asked):
        format = asked.body.get("response_format")
        return (format["type"], format.keys() > {"type"}) if format else (None, False)

    def answer(asked):
        kind, has_schema = form(asked)
        known = kind in knows and (kind == "json_schema" or not has_schema or "schema" in knows)
        status = 500 if kind == "json_schema" else 400  # llama-cpp-python says 500
        return says("{}") if kind is None or known else error(status, f"unknown response_format {kind}")

    with caplog.at_level(logging.WARNING), Server(answer) as server:
        writer = endpoint(server, concurrency=1)
        replies, stop = gather(writer, ask("a", "b", schema=SCHEMA))
        assert [form(asked) for asked in server.asked] == [*sent, sent[-1]]  # learned once
    assert stop is None and all(reply.text == "{}" for reply in replies.values())
    assert len([record for record in caplog.records if "goes on without it" in record.message]) == len(sent) - 1


def test_many_at_once_learn_once(endpoint, caplog):
    meeting = threading.Barrier(4)

    def answer(asked):
        if "response_format" in asked.body:
            if asked.number <= 4:
                meeting.wait(timeout=30)
            return error(400, "response_format is not supported")
        return says("{}")

    with caplog.at_level(logging.WARNING), Server(answer) as server:
        replies, _ = gather(endpoint(server, concurrency=4, json="object"), ask(*"abcd", schema=SCHEMA))
        assert len(server.asked) == 8
    assert len(replies) == 4 and sum("goes on without it" in record.message for record in caplog.records) == 1


def test_old_and_new_names(endpoint):
    def answer(asked):
        if "max_tokens" in asked.body:
            return error(400, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
        return (
            error(400, "stream_options: extra field") if "stream_options" in asked.body else streams("ok", usage=None)
        )

    with Server(answer) as server:
        (reply,) = endpoint(server, stream=True).write(ask("abcdefgh", max_tokens=9))
        assert server.asked[-1].body["max_completion_tokens"] == 9
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("ok", 2, 1)  # estimated


def test_a_begun_reply(endpoint):
    begun = ask("a", prefix="```python\n")
    with Server(lambda asked: says("x = 1")) as server:
        texts = [gather(endpoint(server, prefix=how), begun)[0]["a"].text for how in ("none", "message", "continue")]
        plain, message, continued = [asked.body for asked in server.asked]
    assert texts == ["x = 1", "```python\nx = 1", "```python\nx = 1"]
    assert len(plain["messages"]) == 1
    assert message["messages"][1] == continued["messages"][1] == {"role": "assistant", "content": "```python\n"}
    assert continued["continue_final_message"] is True and "continue_final_message" not in message


def test_an_endpoint_that_does_not_go_on_from_a_beginning_is_asked_without_one(endpoint):
    def answer(asked):
        known = "continue_final_message" not in asked.body
        return says("```python\nx") if known else error(400, "Unrecognized argument: continue_final_message")

    with Server(answer) as server:
        writer = endpoint(server, concurrency=1, prefix="continue")
        replies, stop = gather(writer, ask("a", "b", prefix="```python\n"))
        assert [len(asked.body["messages"]) for asked in server.asked] == [2, 1, 1]
    assert stop is None and {reply.text for reply in replies.values()} == {"```python\nx"}


def test_what_ends_a_begun_reply_does_not_cut_one_that_was_not_begun(endpoint):
    text = "Sure:\n```\ndef f(): pass\n```\n"

    def answer(asked):
        known = "continue_final_message" not in asked.body
        return says(text) if known else error(400, "Unrecognized argument: continue_final_message")

    with Server(answer) as server:
        writer = endpoint(server, prefix="continue")
        replies, _ = gather(writer, ask("a", prefix="```python\n", stop=("\n```\n",)))
        assert ["stop" in asked.body for asked in server.asked] == [True, False]
    assert replies["a"].text == text


def test_halves_of_characters(endpoint):
    """JSON can hold them, UTF-8 cannot: what cannot be sent fails alone, and what comes can be sent on."""
    pieces = [chunk({"content": text}) for text in ("a\ud83d", "\ude00b\ud83d")] + [chunk({}, "stop")]
    for answer in (says("a\U0001f600b\ud83d"), Answer(pieces=[*pieces, "[DONE]"])):
        with Server(lambda asked, answer=answer: answer) as server:
            writer = endpoint(server, stream=answer.pieces is not None)
            replies, stop = gather(writer, ask("good", "half \ud83d"))
        assert stop is None and replies["half \ud83d"].error == "bad_request"
        assert replies["good"].text == "a\U0001f600b\ufffd"


@pytest.mark.parametrize("finish", [None, ["stop"], "eos"])
def test_odd_reasons_for_an_end(endpoint, finish):
    with Server(lambda asked: says("x", finish)) as server:
        (reply,) = endpoint(server).write(ask("a"))
    assert (reply.text, reply.finish, reply.error) == ("x", "stop", None)


def test_the_key_is_told_to_nobody(endpoint, caplog, monkeypatch, capsys):
    caplog.set_level(logging.DEBUG)
    echo = error(500, "you sent Authorization: Bearer sk-very-secret")
    with Server(lambda asked: echo if question(asked) == "a" else says("ok")) as server:
        writer = endpoint(server)
        replies, _ = gather(writer, ask("a", "b"))
    assert replies["a"].error == "server_error" and "***" in replies["a"].detail
    assert "sk-very-secret" not in caplog.text + repr(replies) + repr(vars(writer)) + "".join(capsys.readouterr())
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ValueError, match="TEST_KEY"):
        endpoint(server)
    with pytest.raises(ValueError, match="password"):
        writers.make("endpoint", base_url="https://me:secret@host/v1", model="m", key_env="")


def test_no_key_where_none_is_asked_for(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-secret")  # is for others
    with Server(lambda asked: says("ok")) as server:
        gather(endpoint(server, key_env=""), ask("a"))
        assert server.asked[0].headers["authorization"] == "Bearer none"


def test_wrong_knobs():
    url = "http://127.0.0.1:1/v1"
    for knobs, told in [
        ({"base_url": "localhost"}, "base_url"),
        ({"base_url": url, "model": ""}, "model is empty"),
        ({"base_url": url, "json": "yes"}, "json is one of"),
        ({"base_url": url, "budget_usd": 1.0}, "a budget needs prices"),
        ({"base_url": url, "concurrency": 0}, "at least 1"),
        ({"base_url": url, "backoff_s": 0.0}, "above 0"),
        ({"base_url": url, "tempo": 3}, "takes base_url"),
    ]:
        with pytest.raises(ValueError, match=told):
            writers.make("endpoint", **({"model": "m", "key_env": ""} | knobs))
    with pytest.raises(ValueError, match="unknown writer 'nobody'"):
        writers.make("nobody")


def test_a_writer_that_is_left_early(endpoint):
    with Server(lambda asked: says("ok") if question(asked) == "a" else Answer(wait_s=30)) as server:
        writer = endpoint(server, concurrency=3)
        replies = writer.write(ask(*"abc"))
        assert next(replies).key == "a"
        replies.close()
        writer.close()
        assert not writer._thread.is_alive() and len(server.asked) <= 3
