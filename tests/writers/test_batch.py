import json

import pytest

from acecoder_jax import store, writers
from acecoder_jax.writers import BudgetSpent, Request, WriterError
from tests.writers.hostile_endpoint import Answer, Batches, Server, error, says


def ask(*texts, **more):
    return [Request(text, ({"role": "user", "content": text},), **more) for text in texts]


def body_of(text, usage=(0, 1_000_000)):
    return says(text, usage=usage).body


def answer(body):
    """Upper case; "bad" is refused, "odd" is no completion."""
    text = body["messages"][0]["content"]
    if text == "bad":
        return 400, {"error": {"message": "no"}}
    return 200, {"choices": []} if text == "odd" else body_of(text.upper())


def make(server, folder, **knobs):
    quick = {"model": "m", "key_env": "TEST_KEY", "poll_s": 0.0, "backoff_s": 0.001, "attempts": 3}
    return writers.make("batch", base_url=server.url, folder=str(folder), **(quick | knobs))


def gather(writer, requests):
    with writer:
        return {reply.key: reply for reply in writer.write(requests)}


def created(server):
    return [asked for asked in server.asked if asked.path == "/v1/batches" and asked.body]


def test_batches_are_sent_looked_at_and_collected(tmp_path, capsys):
    api = Batches(answer, looks=2)
    with Server(api) as server:
        writer = make(server, tmp_path, batch_requests=2, open_batches=1, price_out_usd=2.0)
        replies = gather(writer, ask("a", "b", "c", "bad", "odd", max_tokens=9))
    assert {key: reply.text for key, reply in replies.items()} == {"a": "A", "b": "B", "c": "C", "bad": "", "odd": ""}
    assert {key: reply.error for key, reply in replies.items() if reply.error} == {
        "bad": "bad_request",
        "odd": "bad_reply",
    }
    assert replies["a"].cost_usd == 2.0 and writer.account.spent == 6.0
    assert len(api.batches) == 3 and len(created(server)) == 3
    (first, *_) = api.files.values()
    line = json.loads(first[1].splitlines()[0])
    assert line["url"] == "/v1/chat/completions" and line["body"]["max_tokens"] == 9
    assert "2 requests sent as batch-0" in capsys.readouterr().out
    assert "sk-very-secret" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_what_came_back_is_not_asked_for_again(tmp_path):
    api = Batches(answer)
    with Server(api) as server:
        gather(make(server, tmp_path), ask("a", "bad"))
        replies = gather(make(server, tmp_path), ask("a", "bad", "c"))
    assert {key: reply.text for key, reply in replies.items()} == {"a": "A", "bad": "", "c": "C"}
    assert [len(row["names"]) for row in map(store.read_json, sorted(tmp_path.glob("*.json")))] == [2, 2]
    assert len(api.batches) == 2  # what failed is asked again, with what is new


@pytest.mark.parametrize("call", range(1, 6))
def test_killed_at_any_write_it_is_sent_once(tmp_path, monkeypatch, call):
    """Whatever write of the folder a kill comes before, each request is sent in one batch and has one reply."""
    api = Batches(answer)
    real, calls = store.write_bytes, iter(range(1, 1000))

    def until_killed(path, data):
        if next(calls) == call:
            raise KeyboardInterrupt
        real(path, data)

    with Server(api) as server:
        replies = {}
        with monkeypatch.context() as patched:
            patched.setattr(store, "write_bytes", until_killed)
            with pytest.raises(KeyboardInterrupt):
                replies = gather(make(server, tmp_path), ask("a", "b"))
        assert replies == {}
        replies = gather(make(server, tmp_path), ask("a", "b"))
        assert len(created(server)) == 1
    assert {key: reply.text for key, reply in replies.items()} == {"a": "A", "b": "B"}


def test_a_lost_answer_does_not_send_a_batch_twice(tmp_path):
    api, lost = Batches(answer), iter([True])

    def loses(asked):
        made = api(asked)
        return Answer(mute=True) if asked.path == "/v1/batches" and asked.body and next(lost, False) else made

    with Server(loses) as server:
        replies = gather(make(server, tmp_path), ask("a"))
        assert len(api.batches) == 1 and replies["a"].text == "A"


def test_outages_while_it_waits(tmp_path):
    api, faults = Batches(answer), iter([error(500, "oops"), error(429, "slow", {"retry-after-ms": "1"})])
    with Server(lambda asked: next(faults, None) or api(asked)) as server:
        assert gather(make(server, tmp_path), ask("a"))["a"].text == "A"
    with Server(lambda asked: error(500, "oops")) as server, pytest.raises(WriterError, match="server_error"):
        gather(make(server, tmp_path / "b"), ask("a"))
    with Server(lambda asked: error(401, "no")) as server, pytest.raises(WriterError, match="refuses the key"):
        gather(make(server, tmp_path / "c"), ask("a"))


def test_batches_that_end_badly(tmp_path):
    api = Batches(answer)

    def expires(asked):
        made = api(asked)
        if asked.path.startswith("/v1/batches/batch-0"):
            made.body = made.body | {"status": "expired"}
        return made

    with Server(expires) as server:
        replies = gather(make(server, tmp_path), ask("a"))
        assert replies["a"].error == "expired"
        assert gather(make(server, tmp_path), ask("a"))["a"].text == "A"
        assert len(api.batches) == 2
    api = Batches(answer)

    def refuses(asked):
        made = api(asked)
        if asked.path.startswith("/v1/batches/batch-0"):
            made.body = made.body | {"status": "failed", "errors": {"data": [{"code": "c", "message": "too long"}]}}
        return made

    with Server(refuses) as server:
        with pytest.raises(WriterError, match="c: too long"):
            gather(make(server, tmp_path / "b"), ask("a"))
        assert gather(make(server, tmp_path / "b"), ask("a"))["a"].text == "A"


def test_the_budget_is_looked_at_before_each_batch(tmp_path):
    knobs = {"batch_requests": 1, "open_batches": 1, "price_out_usd": 1.0, "budget_usd": 2.0}
    replies = []
    with Server(Batches(answer)) as server:
        writer = make(server, tmp_path, **knobs)
        with pytest.raises(BudgetSpent):
            replies.extend(writer.write(ask(*"abcd")))
            pytest.fail("the budget was not seen")
        assert len(created(server)) == 2
        more = gather(make(server, tmp_path, **(knobs | {"budget_usd": 9.0, "spent_usd": 2.0})), ask(*"cd"))
        assert {key: reply.text for key, reply in more.items()} == {"c": "C", "d": "D"} and len(created(server)) == 4


def test_it_wants_a_folder():
    with pytest.raises(ValueError, match="folder is empty"):
        writers.make("batch", base_url="http://127.0.0.1:1/v1", model="m", key_env="", folder="")
