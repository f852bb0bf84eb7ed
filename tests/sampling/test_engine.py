"""The engine: each sample is its own, whatever runs beside it; how an answer ends; what is refused."""

import contextlib
import dataclasses
import re
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acecoder_jax import parallel
from acecoder_jax.models.decoder import Model
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine, Request
from acecoder_jax.sampling.noise import sample_key, uniforms
from acecoder_jax.training.packing import TokenSequence, response_mask
from acecoder_jax.training.update import make_logps
from acecoder_jax.types import Completion

LIMITS: dict[str, Any] = {
    "max_prompt_tokens": 16,
    "max_new_tokens": 16,
    "chunk": 4,
    "prefill_rows": 2,
    "prefill_width": 4,
    "page": 4,
}
SEED = 5
KINDS = [
    SamplingParams(max_new_tokens=16),
    SamplingParams(temperature=0.6, max_new_tokens=9),
    SamplingParams(top_p=0.8, max_new_tokens=16),
    SamplingParams(temperature=1.4, top_p=0.9, top_k=12, max_new_tokens=5),
    SamplingParams(temperature=0.0, max_new_tokens=12),
]
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=16)


def make_engine(config: Any, words: Any, params: Any, **kw: Any) -> Engine:
    engine = Engine(config, words, **{"slots": 4, "seed": SEED, "dtype": jnp.float32, **LIMITS, **kw})
    engine.update(params)
    return engine


@pytest.fixture(scope="module")
def engine(config, words, params):
    return make_engine(config, words, params)


@pytest.fixture(scope="module")
def requests(config):
    """Three prompts, of one token, of nine and of sixteen, each sampled in five ways."""
    rng = np.random.default_rng(3)
    prompts = {f"p{n}": tuple(rng.integers(0, config.vocab_size, n).tolist()) for n in (1, 9, 16)}
    return [Request(name, prompt, kind, i, 2) for name, prompt in prompts.items() for i, kind in enumerate(KINDS)]


def run(engine: Engine, requests: list[Request], purpose: str = "rollout") -> dict[str, Completion]:
    """The completions by id; each request gives one."""
    completions = list(engine.generate(requests, purpose))
    by_id = {completion.id: completion for completion in completions}
    assert len(by_id) == len(completions) == len(requests)
    return by_id


@pytest.fixture(scope="module")
def together(engine, requests):
    return run(engine, requests)


@pytest.mark.parametrize("engine_kind", ["four slots", "seven slots", "mesh"])
def test_each_token_is_the_one_that_its_noise_picks(
    config, words, params, requests, full_logits, reference, engine, engine_kind
):
    """Against the full forward and plain numpy; a token may differ only where its number is within 1e-4 of another."""
    with contextlib.ExitStack() as stack:
        if engine_kind == "seven slots":
            engine = make_engine(config, words, params, slots=7)
        elif engine_kind == "mesh":
            mesh = parallel.make_mesh(data=2, fsdp=2, tensor=2)
            stack.enter_context(jax.set_mesh(mesh))
            engine = make_engine(config, words, params, mesh=mesh)
        completions = run(engine, requests)
    for request in requests:
        done = completions[f"{request.problem_id}/{request.sample}"]
        assert done.prompt_tokens == request.prompt_tokens
        logits_nv = full_logits(done.prompt_tokens + done.tokens)[len(done.prompt_tokens) - 1 : -1]
        key = sample_key(SEED, "rollout", request.rollout, request.problem_id, request.sample, request.turn)
        uniform_n2 = np.asarray(uniforms(jnp.tile(key, (16, 1)), jnp.arange(16)))
        for i, token in enumerate(done.tokens):
            assert done.logps[i] == pytest.approx(reference.log_softmax(logits_nv[i])[token], abs=1e-4)
            if request.sampling.temperature == 0:
                assert logits_nv[i].max() - logits_nv[i][token] < 1e-4
                assert done.sampling_logps[i] == 0
            else:
                p_v = reference.distribution(logits_nv[i], request.sampling)
                assert reference.distance(p_v, uniform_n2[i], token) < 1e-4
                assert done.sampling_logps[i] == pytest.approx(np.log(p_v[token]), abs=1e-4)


def test_neighbours_and_order_change_not_a_bit(engine, requests, together):
    assert run(engine, requests[::-1]) == together
    shuffled = [requests[i] for i in np.random.default_rng(0).permutation(len(requests))]
    assert run(engine, shuffled[:8]) | run(engine, shuffled[8:]) == together
    for request in requests[:5] + requests[-5:]:
        assert run(engine, [request]).items() <= together.items()


def test_every_part_of_the_name_gives_another_sample(engine, requests):
    first = dataclasses.replace(requests[5], sampling=SamplingParams(max_new_tokens=8))
    others = [dataclasses.replace(first, **{part: 7}) for part in ("sample", "rollout", "turn")]
    others.append(dataclasses.replace(first, problem_id="another"))
    texts = {completion.tokens for request in [first, *others] for completion in engine.generate([request], "rollout")}
    texts |= {completion.tokens for completion in engine.generate([first], "evaluate")}
    assert len(texts) == 6


def test_what_a_completion_says(together):
    for completion in together.values():
        lengths = {len(completion.tokens), len(completion.logps), len(completion.sampling_logps)}
        assert lengths == {len(completion.policy_mask)}
        assert set(completion.policy_mask) == {1}
        assert completion.rollout == 2
        assert Completion.from_json(completion.to_json()) == completion
        limit = KINDS[completion.sample].max_new_tokens
        assert completion.finish_reason == "stop" or len(completion.tokens) == limit
    assert {completion.finish_reason for completion in together.values()} >= {"length"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.02)])
def test_the_trainer_says_the_same_of_the_sampled_tokens(config, words, params, requests, together, dtype, tolerance):
    model = Model(config, jnp.dtype(dtype), "none")
    if dtype != "float32":
        plain = [dataclasses.replace(request, sampling=KINDS[0]) for request in requests]
        together = run(make_engine(config, words, params, dtype=model.dtype), plain)
    completions = list(together.values())
    sequences = [TokenSequence(np.array(c.prompt_tokens + c.tokens, np.int32), {}) for c in completions]
    logps = make_logps(model, rows=4, row_tokens=48, logit_chunk=48)(params, sequences)
    gap_n = np.concatenate(
        [logp_n[-len(c.tokens) :] - np.array(c.logps) for c, logp_n in zip(completions, logps, strict=True)]
    )
    assert len(gap_n) > 100
    assert (np.abs(gap_n).max() if dtype == "float32" else np.abs(gap_n).mean()) < tolerance


class TestEnds:
    """A policy that says one fixed thing after each token, so that every ending can be staged."""

    SCRIPT = ("x a b S T O P c <|im_end|>", "y d <|endoftext|>", "z e f e", "w Ã © g <|im_end|>")

    @pytest.fixture(scope="class")
    def ids(self, words):
        return {word: words.convert_tokens_to_ids(word) for line in self.SCRIPT for word in line.split()}

    @pytest.fixture(scope="class")
    def scripted(self, config, words, params, ids):
        embed_vd = np.zeros((config.vocab_size, config.hidden_size), np.float32)
        head_dv = np.zeros((config.hidden_size, config.vocab_size), np.float32)
        for d, (word, token) in enumerate(ids.items()):
            embed_vd[token, d] = 1
            for line in self.SCRIPT:
                pairs = list(zip(line.split(), line.split()[1:], strict=False))
                head_dv[d, [ids[after] for before, after in pairs if before == word]] = 10
        silent = {name: params["layers"][name] * 0 for name in ("o_nhd", "down_fd")}
        top = {"embed_vd": embed_vd, "head_dv": head_dv, "final_norm_d": np.ones(config.hidden_size, np.float32)}
        return make_engine(config, words, {**top, "layers": params["layers"] | silent})

    def say(self, scripted: Engine, ids: dict[str, int], word: str, **sampling: Any) -> Completion:
        request = Request("p", (ids[word],), dataclasses.replace(GREEDY, **sampling))
        (completion,) = scripted.generate([request], "rollout")
        return completion

    @pytest.mark.parametrize(
        ("start", "sampling", "tokens", "text", "reason"),
        [
            ("x", {}, "a b S T O P c <|im_end|>", "abSTOPc", "stop"),
            ("y", {}, "d <|endoftext|>", "d", "stop"),
            ("z", {"max_new_tokens": 7}, "e f e f e f e", "efefefe", "length"),
            ("x", {"max_new_tokens": 1}, "a", "a", "length"),
            ("x", {"max_new_tokens": 7}, "a b S T O P c", "abSTOPc", "length"),
            ("x", {"max_new_tokens": 8}, "a b S T O P c <|im_end|>", "abSTOPc", "stop"),
            # a stop string over four tokens and two chunks: the tokens reach to its end, the text to its beginning
            ("x", {"stop": ("STOP",)}, "a b S T O P", "ab", "stop"),
            ("x", {"stop": ("nowhere", "TO")}, "a b S T O", "abS", "stop"),
            ("x", {"stop": ("a",)}, "a", "", "stop"),
            ("x", {"stop": ("Pc",), "max_new_tokens": 7}, "a b S T O P c", "abSTO", "stop"),
            ("x", {"stop": ("nowhere",)}, "a b S T O P c <|im_end|>", "abSTOPc", "stop"),
            # the one that is complete first ends the answer, though the other begins before it
            ("x", {"stop": ("abST", "bS")}, "a b S", "a", "stop"),
            ("z", {"stop": ("efefef",)}, "e f e f e f", "", "stop"),
            ("w", {"stop": ("é",)}, "Ã ©", "", "stop"),  # one character of two tokens
            ("w", {}, "Ã © g <|im_end|>", "ég", "stop"),
        ],
    )
    def test_how_an_answer_ends(self, scripted, ids, start, sampling, tokens, text, reason):
        completion = self.say(scripted, ids, start, **sampling)
        assert completion.tokens == tuple(ids[word] for word in tokens.split())
        assert (completion.text, completion.finish_reason) == (text, reason)
        assert completion.truncated == (reason == "length")
        assert len(completion.logps) == len(completion.sampling_logps) == len(completion.tokens)
        # all of them count in the loss, the end token included
        mask = response_mask(len(completion.prompt_tokens), completion.policy_mask)
        assert mask.tolist() == [1.0] * len(completion.tokens)

    def test_short_answers_do_not_wait_for_long_ones_and_slots_are_used_again(self, scripted, ids):
        requests = [Request("long", (ids["z"],), GREEDY)]
        requests += [Request("short", (ids["y"],), GREEDY, sample) for sample in range(11)]
        stopped = dataclasses.replace(GREEDY, stop=("STOP",))
        requests += [Request("stopped", (ids["x"],), stopped, sample) for sample in range(3)]
        names = [completion.id for completion in scripted.generate(requests, "rollout")]
        assert sorted(names) == sorted(f"{r.problem_id}/{r.sample}" for r in requests)
        assert names.index("long/0") > 8  # three of four slots have answered all the while


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_tokens": ()}, "the prompt is empty"),
        ({"prompt_tokens": (1,) * 17}, "the prompt has 17 tokens, the limit max_prompt_tokens is 16"),
        ({"sampling": SamplingParams(max_new_tokens=17)}, "asks for 17 new tokens, the engine was made for at most 16"),
        ({"prompt_tokens": (1, 10**6)}, "token ids outside the vocabulary"),
        ({"prompt_tokens": (-1, 2)}, "token ids outside the vocabulary"),
    ],
)
def test_a_bad_request_is_named(engine, requests, together, change, message):
    """And the others go on."""
    bad = dataclasses.replace(requests[1], problem_id="mbpp/11", sample=3, **change)
    completions = run(engine, [requests[0], bad, requests[5]])
    refused = completions.pop("mbpp/11/3")
    assert refused.finish_reason == "error" and refused.tokens == ()
    assert re.search(f"request 'mbpp/11' sample 3: .*{message}", refused.error)
    assert completions.items() <= together.items()


def test_no_weights_yet(config, words):
    engine = Engine(config, words, slots=2, seed=0, **LIMITS)
    with pytest.raises(RuntimeError, match="call update"):
        next(engine.generate([Request("p", (1,), GREEDY)], "rollout"))


def test_no_requests(engine):
    assert list(engine.generate([], "rollout")) == []


def test_update_takes_copies_and_takes_effect(config, words, params, engine, requests, together):
    """The trainer gives its parameters away at the next update: the engine must not notice."""
    first = requests[0]
    theirs = jax.tree.map(jnp.array, params)
    engine.update(theirs)
    jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)(theirs)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(theirs))
    assert run(engine, [first]).items() <= together.items()
    engine.update(jax.tree.map(lambda leaf: 2 * leaf, params))
    assert not run(engine, [first]).items() <= together.items()
    engine.update(params)
    assert run(engine, [first]).items() <= together.items()


class TestStreaming:
    """Requests that come and go while the engine runs."""

    def test_requests_are_added_while_it_runs(self, engine, requests, together):
        completions = {}
        with engine.start("rollout") as decoding:
            later = iter(requests[3:])
            for request in requests[:3]:
                decoding.add(request)
            for completion in decoding:
                completions[completion.id] = completion
                for _, request in zip(range(2), later, strict=False):
                    decoding.add(request)
                if len(completions) == len(requests):
                    decoding.close()
        assert completions == together

    def test_another_thread_adds_and_the_idle_engine_wakes(self, engine, requests, together):
        with engine.start("rollout") as decoding:
            first_done = threading.Event()

            def client():
                decoding.add(requests[0])
                first_done.wait(60)
                decoding.add(requests[7])
                decoding.close()

            thread = threading.Thread(target=client)
            thread.start()
            completions = {}
            for completion in decoding:
                completions[completion.id] = completion
                first_done.set()
            thread.join()
        assert len(completions) == 2 and completions.items() <= together.items()

    def test_cancelled_requests_end_and_the_others_do_not_notice(self, engine, requests, together):
        """One in a slot, with what it has so far; one that still waits, with nothing."""
        running, waiting = requests[10], requests[14]
        with engine.start("rollout") as decoding:
            for request in requests:
                decoding.add(request)
            decoding.close()
            completions = {}
            for completion in decoding:
                if not completions:
                    decoding.cancel(waiting)
                    decoding.cancel(running)
                completions[completion.id] = completion
        assert len(completions) == len(requests)
        ended = {name for name, completion in completions.items() if completion.finish_reason == "cancelled"}
        assert ended and ended <= {f"{r.problem_id}/{r.sample}" for r in (running, waiting)}
        for name, completion in completions.items():
            whole = together[name]
            if name in ended:
                assert completion.tokens == whole.tokens[: len(completion.tokens)]
                assert len(completion.logps) == len(completion.tokens) < len(whole.tokens)
            else:
                assert completion == whole

    def test_a_closed_run_takes_no_more(self, engine, requests):
        with engine.start("rollout") as decoding:
            decoding.close()
            with pytest.raises(ValueError, match="takes no more requests"):
                decoding.add(requests[0])
            assert list(decoding) == []


def test_a_long_prompt_does_not_stop_the_others(config, words, params, requests):
    """Between two chunks prompts are read by few calls: prefill_calls when all slots decode, twice that at a half."""
    engine = make_engine(config, words, params, slots=2, prefill_rows=1, prefill_width=2, page=2, prefill_calls=1)
    calls, call = [], engine._call
    engine._call = lambda name, *args, **kw: calls.append(name) or call(name, *args, **kw)
    short, long = (next(r for r in requests if len(r.prompt_tokens) == n and r.sample == 0) for n in (1, 16))
    assert len(run(engine, [short, long])) == 2
    text = "".join(name[0] for name in calls if name[0] in "pd")
    assert text.startswith("ppdppdppdppd") and text.count("p") == 8  # then the short one has ended


def test_logits_that_are_not_finite_end_a_request_with_an_error(config, words, params, requests):
    engine = make_engine(config, words, params | {"final_norm_d": params["final_norm_d"] * np.nan})
    (completion,) = engine.generate(requests[:1], "rollout")
    assert completion.finish_reason == "error" and "not finite" in completion.error and completion.tokens == ()


def test_the_caches_bytes_are_those_computed(engine, config, words, params):
    for one in (engine, make_engine(config, words, params, dtype=jnp.bfloat16, cache_tokens=100, page=2)):
        assert one.cache_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(one._empty()))


def test_compilations_are_few_whatever_the_lengths_and_each_is_logged(config, words, params, full_logits, caplog):
    """A back end that costs the table's width is compiled for powers of two of pages, any other once."""
    rng = np.random.default_rng(1)
    prompts = [tuple(rng.integers(0, config.vocab_size, n).tolist()) for n in range(1, 17)]
    requests = [Request(f"p{n}", prompt, GREEDY) for n, prompt in enumerate(prompts)]
    texts = []
    for backend, names in (
        ("xla", {"empty", "prefill", "copy", "decode (greedy)"}),
        (
            "gpu",
            {"empty", "copy"}
            | {f"prefill, {n} pages a row" for n in (1, 2, 4)}
            | {f"decode (greedy), {n} pages a row" for n in (1, 2, 4, 8)},
        ),
    ):
        with caplog.at_level("INFO", logger="acecoder_jax.sampling.engine"):
            engine = make_engine(config, words, params, backend=backend)
            texts.append({name: done.tokens for name, done in run(engine, requests).items()})
        assert engine.compilations.keys() <= names
        assert engine._decode._cache_size() <= len([name for name in names if name.startswith("decode")])
        assert all(f"compiled {name} in" in caplog.text for name in engine.compilations)
    assert texts[0] == texts[1]


def test_a_small_cache_makes_samples_wait_and_changes_none(config, words, params, requests, together):
    """Two rows' worth of pages for four slots; prompts are read once while there is room."""
    small = make_engine(config, words, params, cache_tokens=2 * 48)
    assert run(small, requests) == together
    with pytest.raises(ValueError, match="cache_tokens is too small: one prompt of 16 and its answer of 16 take 48"):
        make_engine(config, words, params, cache_tokens=44)


def test_a_prompt_is_read_once_for_all_its_samples(config, words, params, requests):
    engine = make_engine(config, words, params)
    pieces, call = [], engine._call

    def counted(name, function, *args, **kw):
        if name == "prefill":
            pieces.append(int(np.asarray(args[-1]["active_st"]).sum()))
        return call(name, function, *args, **kw)

    engine._call = counted
    again = [dataclasses.replace(request, sample=request.sample + 10) for request in requests]
    with engine.start("rollout") as decoding:
        for request in requests:
            decoding.add(request)
        for at, _ in enumerate(decoding, 1):
            if at == len(requests):  # all have been answered: the same prompts once more
                for request in again:
                    decoding.add(request)
                decoding.close()
    assert sum(pieces) == sum(n - 1 for n in (1, 9, 16))


@pytest.mark.parametrize(
    "wrong", [{"prompt_tokens": [1, 2]}, {"prompt_tokens": (1.0, 2)}, {"sample": np.int64(3)}, {"rollout": None}]
)
def test_a_request_of_wrong_types_fails_alone(engine, requests, together, wrong):
    bad = dataclasses.replace(requests[0], problem_id="bad", **wrong)
    completions = {completion.id: completion for completion in engine.generate([bad, *requests], "rollout")}
    (error,) = [completion.error for name, completion in completions.items() if name.startswith("bad")]
    assert "must be a tuple of int" in error
    with engine.start("rollout") as decoding, pytest.raises(ValueError, match="problem_id must be a string"):
        decoding.add(dataclasses.replace(requests[0], problem_id=b"p1"))
    assert {name: done for name, done in completions.items() if not name.startswith("bad")} == together
