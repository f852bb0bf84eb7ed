import pytest

from acecoder_jax.writers import _faults


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 60),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12"}, 12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "a while"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "retry-after": "2", "x-ratelimit-reset-tokens": "9s"}, 2),
    ],
)
def test_how_long_an_endpoint_asks_to_wait(headers, seconds):
    assert _faults.asked_to_wait(headers, clock=40.0) == (seconds if seconds is None else pytest.approx(seconds))


def test_backoff_doubles_up_to_its_cap_with_chance_in_it():
    for attempt, most in [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (5000, 60.0)]:
        waits = [_faults.backoff(attempt, 1.0, 60.0) for _ in range(50)]
        assert most / 2 <= min(waits) < max(waits) <= most
