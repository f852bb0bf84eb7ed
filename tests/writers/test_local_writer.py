import jax.numpy as jnp
import pytest

from acecoder_jax import tokenizer, writers
from acecoder_jax.models import huggingface
from acecoder_jax.models.config import ModelConfig
from acecoder_jax.models.decoder import Model
from acecoder_jax.writers import Request

ENGINE = {"slots": 2, "chunk": 4, "prefill_rows": 2, "prefill_width": 16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import jax

    words = tokenizer.train_bpe(["def add(a, b):\n    return a + b\n"] * 3, 280)
    config = ModelConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_layers=1, num_heads=2, num_kv_heads=1,
        head_dim=16, tie_word_embeddings=True,
    )  # fmt: skip
    params = Model(config).init(jax.random.key(0))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    huggingface.export(params, config, folder, dtype=jnp.float32, tokenizer=words)
    return str(folder)


def ask(*texts, **more):
    knobs = {"max_tokens": 6, "temperature": 1.0} | more
    return [Request(text, ({"role": "user", "content": text},), **knobs) for text in texts]


def test_a_checkpoint_writes(checkpoint):
    """As requests come; what a text is depends on its key and seed, not on what else is under way."""
    knobs = {"model": checkpoint, "max_prompt_tokens": 64, "max_new_tokens": 8, "dtype": "float32", "engine": ENGINE}
    taken = []

    def source():
        for request in ask(*"abcdefghij"):
            taken.append(request.key)
            yield request

    with writers.make("local", **knobs) as writer:
        assert writer.model == "tiny"
        replies = writer.write(source())
        first = next(replies)
        assert len(taken) == 4  # twice the slots
        together = {reply.key: reply for reply in [first, *replies]}
        assert together.keys() == set("abcdefghij") and not any(reply.error for reply in together.values())
        assert all(reply.finish in ("stop", "length") and reply.completion_tokens for reply in together.values())
        (alone,) = writer.write(ask("h"))
        assert alone == together["h"]
        (other,) = writer.write(ask("h", seed=1))
        assert other.text != alone.text
        (begun,) = writer.write(ask("h", prefix="def add"))
        assert begun.text.startswith("def add") and begun.prompt_tokens > alone.prompt_tokens
        refused = {reply.key: reply for reply in writer.write([*ask("x" * 500), *ask("a"), *ask("b", max_tokens=9)])}
        assert [refused[key].error for key in ("x" * 500, "a", "b")] == ["bad_request", None, "bad_request"]
        assert "max_prompt_tokens" in refused["x" * 500].detail
        assert [reply.error for reply in writer.write(ask("y" * 500))] == ["bad_request"]


def test_a_bare_text_and_what_ends_it(checkpoint):
    """Without messages the prompt is the tokens of the prefix; the text ends before a stop string."""
    knobs = {"model": checkpoint, "max_prompt_tokens": 64, "max_new_tokens": 8, "dtype": "float32", "engine": ENGINE}
    words = tokenizer.load(checkpoint)
    with writers.make("local", **knobs) as writer:

        def go_on(text, **more):
            (reply,) = writer.write([Request("a", (), prefix=text, max_tokens=8, temperature=0.0, **more)])
            return reply

        whole = go_on("def add(")
        assert whole.text.startswith("def add(") and whole.prompt_tokens == len(words.encode("def add("))
        written = whole.text.removeprefix("def add(")
        assert len(written) > 2
        stop = written[2:4]
        cut = go_on("def add(", stop=("never", stop))
        assert cut.text == "def add(" + written[: written.index(stop)] and cut.finish == "stop"
        assert cut.completion_tokens <= whole.completion_tokens
        assert go_on("").error == "bad_request"
