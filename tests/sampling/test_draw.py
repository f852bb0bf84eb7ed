"""Drawing a token: against plain numpy, at the extremes, and as a distribution."""

import functools

import jax
import numpy as np
import pytest

from acecoder_jax.sampling.draw import Drawn, Needs, SamplingParams, _first_above, draw

ROWS = 6
jitted = jax.jit(draw, static_argnames="needs")


def one(logits_sv: np.ndarray, uniform_s2: np.ndarray, sampling: list[SamplingParams]) -> Drawn:
    """A draw a row, each row by its own parameters."""
    fields = zip(*[(p.temperature, p.top_p, p.top_k) for p in sampling], strict=True)
    temperature_s, top_p_s, top_k_s = (np.array(column) for column in fields)
    arrays = (logits_sv, uniform_s2, temperature_s.astype(np.float32), top_p_s.astype(np.float32))
    drawn = jitted(*(np.asarray(a, np.float32) for a in arrays), top_k_s.astype(np.int32), needs=Needs.of(sampling))
    return jax.tree.map(np.asarray, drawn)


@functools.cache
def rows(v: int) -> tuple[np.ndarray, np.ndarray]:
    """Random logits with ties, and uniform numbers."""
    rng = np.random.default_rng(v)
    return rng.normal(0, 2, (ROWS, v)).round(1).astype(np.float32), rng.random((ROWS, 2)).astype(np.float32)


PARAMS = [
    SamplingParams(),
    SamplingParams(temperature=0.7),
    SamplingParams(top_p=0.8),
    SamplingParams(top_k=5),
    SamplingParams(temperature=1.6, top_p=0.6, top_k=20),
    SamplingParams(temperature=0.0),
]


@pytest.mark.parametrize("v", [5, 128, 300])
@pytest.mark.parametrize("seed", range(4))
def test_against_numpy(reference, v, seed):
    logits_sv, uniform_s2 = rows(v)
    uniform_s2 = (uniform_s2 + 0.23 * seed) % 1
    drawn = one(logits_sv, uniform_s2, PARAMS)
    for s, sampling in enumerate(PARAMS):
        token = drawn.token_s[s]
        if sampling.temperature == 0:
            assert (token, drawn.sampling_logp_s[s]) == (np.argmax(logits_sv[s]), 0)
        else:
            p_v = reference.distribution(logits_sv[s], sampling)
            assert token == reference.draw(p_v, uniform_s2[s])
            assert drawn.sampling_logp_s[s] == pytest.approx(np.log(p_v[token]), abs=1e-5)
        assert drawn.logp_s[s] == pytest.approx(reference.log_softmax(logits_sv[s])[token], abs=1e-5)


def test_a_row_of_the_neighbours_kind_changes_nothing():
    """The program depends on what the batch needs, the row's own answer does not."""
    logits_sv, uniform_s2 = rows(300)
    plain = [SamplingParams()] * ROWS
    mixed = [SamplingParams()] * 3 + PARAMS[2:5]
    for alone, beside in zip(one(logits_sv, uniform_s2, plain), one(logits_sv, uniform_s2, mixed), strict=True):
        np.testing.assert_array_equal(alone[:3], beside[:3])


def kept(logits_v: list[float], sampling: SamplingParams) -> set[int]:
    """The tokens that can be drawn, by trying numbers all over [0, 1)."""
    uniform_s2 = np.stack([np.zeros(64), (np.arange(64) + 0.5) / 64], axis=1)
    logits_sv = np.tile(np.array(logits_v, np.float32), (64, 1))
    return set(one(logits_sv, uniform_s2, [sampling] * 64).token_s.tolist())


TIED = [2.0, 1.0, 1.0, 1.0, 0.0]  # masses: 0.45, 0.166 three times, 0.06


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"top_k": 1}, {0}),
        ({"top_k": 2}, {0, 1, 2, 3}),  # as likely as the second: all kept
        ({"top_k": 4}, {0, 1, 2, 3}),
        ({"top_k": 5}, {0, 1, 2, 3, 4}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),  # more than there are
        ({"top_p": 1e-6}, {0}),  # never none
        ({"top_p": 0.4}, {0}),
        ({"top_p": 0.5}, {0, 1, 2, 3}),  # one of the tied is needed: all kept
        ({"top_p": 0.95}, {0, 1, 2, 3, 4}),
        ({"top_p": 1.0}, {0, 1, 2, 3, 4}),
        ({"top_k": 4, "top_p": 0.99}, {0, 1, 2, 3}),
        ({"top_k": 2, "top_p": 0.46}, {0}),  # of what top-k leaves, the first has 0.475
        ({"temperature": 0.05}, {0}),
        ({"temperature": 1e9}, {0, 1, 2, 3, 4}),
        ({"temperature": 1e-30}, {0}),
    ],
)
def test_what_is_kept(sampling, expected):
    assert kept(TIED, SamplingParams(**sampling)) == expected


def test_equal_logits_are_all_kept():
    assert kept([1.0] * 4, SamplingParams(top_k=1)) == kept([1.0] * 4, SamplingParams(top_p=0.1)) == {0, 1, 2, 3}


def test_greedy_takes_the_first_of_the_best():
    logits_sv = np.array([[0.0, 3.0, 3.0, -1.0]])
    for params in ([SamplingParams(temperature=0.0)], [SamplingParams(temperature=0.0, top_k=1, top_p=0.5)]):
        drawn = one(logits_sv, np.array([[0.99, 0.99]]), params)
        assert drawn.token_s.tolist() == [1]
        assert drawn.sampling_logp_s.tolist() == [0]
        assert drawn.logp_s[0] == pytest.approx(-np.log(2 + np.exp(-3) + np.exp(-4)), abs=1e-6)


def test_large_and_masked_logits():
    logits_sv = np.array([[1e4, 1e4 - 1, -1e4, -np.inf]])
    drawn = one(logits_sv, np.array([[0.5, 0.99]]), [SamplingParams()])
    assert drawn.token_s.tolist() == [1]
    assert drawn.logp_s[0] == drawn.sampling_logp_s[0] == pytest.approx(-np.log(1 + np.e), abs=1e-5)


@pytest.mark.parametrize("number", [0.0, np.nextafter(np.float32(1), np.float32(0))])
def test_a_token_without_mass_is_never_drawn(number):
    """At both ends of [0, 1): the first and the last token, and those after the vocabulary's end, have no mass."""
    logits_sv = np.full((4, 300), -np.inf, np.float32)
    only = [7, 130, 298, 128]
    logits_sv[np.arange(4), only] = [0.0, 50.0, -50.0, 1e-3]
    logits_sv[3, 127] = 1e-3
    drawn = one(logits_sv, np.full((4, 2), number), [SamplingParams()] * 4)
    assert drawn.token_s[:3].tolist() == only[:3]
    assert drawn.token_s[3] == (127 if number == 0 else 128)
    np.testing.assert_allclose(drawn.sampling_logp_s, [0, 0, 0, -np.log(2)], atol=1e-6)


def test_rounding_gives_no_mass_to_a_token_without():
    """Partial sums of a parallel scan can step up at entries of zero: numbers in such a step and beside it."""
    rng = np.random.default_rng(0)
    mass_sn = rng.exponential(size=(64, 1187)).astype(np.float32) * (rng.random((64, 1187)) < 0.3)
    cumulative_sn = np.asarray(jax.jit(lambda x: jax.numpy.cumsum(x, axis=-1))(mass_sn))
    steps = np.argwhere((np.diff(cumulative_sn) > 0) & (mass_sn[:, 1:] == 0))
    assert len(steps) > 100  # the danger is real: in a row of 1,187 blocks, as Qwen's vocabulary has
    row, at = steps[:100].T
    share = cumulative_sn[row, at].astype(np.float64) / cumulative_sn[row, -1]
    uniform = np.concatenate([share + nudge * 2.0**-24 for nudge in range(-2, 3)]).astype(np.float32)
    row = np.tile(row, 5)
    index, _ = jax.jit(_first_above)(mass_sn[row], uniform)
    assert (mass_sn[row, index] > 0).all()
    end, wanted = cumulative_sn[row, index], uniform * cumulative_sn[row, -1]
    assert (end - mass_sn[row, index] - 1e-4 <= wanted).all()  # and it is the entry that the number asks for
    assert (wanted <= end + 1e-4).all()


@pytest.mark.parametrize("sampling", [SamplingParams(), SamplingParams(temperature=1.3, top_p=0.9, top_k=100)])
def test_tokens_come_as_often_as_they_are_likely(reference, sampling):
    count, v = 20_000, 300
    logits_v = np.random.default_rng(5).normal(0, 1.5, v).astype(np.float32)
    uniform_s2 = np.random.default_rng(6).random((count, 2))
    drawn = one(np.tile(logits_v, (count, 1)), uniform_s2, [sampling] * count)
    expected_v = count * reference.distribution(logits_v, sampling)
    counts_v = np.bincount(drawn.token_s, minlength=v)
    assert counts_v[expected_v == 0].sum() == 0
    often = expected_v >= 5
    chi2 = np.sum((counts_v - expected_v)[often] ** 2 / expected_v[often])
    freedom = often.sum() - 1
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"temperature": -0.1}, "temperature must be at least 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k must be at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"stop": ("a", "")}, "empty stop string"),
    ],
)
def test_bad_parameters(knobs, message):
    with pytest.raises(ValueError, match=message):
        SamplingParams(**knobs)


def test_a_batch_needs_what_some_row_needs():
    greedy = SamplingParams(temperature=0.0, top_p=0.5, top_k=3)
    assert Needs.of([greedy]) == Needs(draws=False, tempers=False, restricts=False)
    assert Needs.of([greedy, SamplingParams()]) == Needs(True, False, False)
    assert Needs.of([greedy, SamplingParams(temperature=0.5)]) == Needs(True, True, False)
    assert Needs.of([SamplingParams(top_k=3)]) == Needs.of([SamplingParams(top_p=0.9)]) == Needs(True, False, True)
