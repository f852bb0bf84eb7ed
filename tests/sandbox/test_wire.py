import collections
import unittest.mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acecoder_jax.sandbox.grade import Grading
from acecoder_jax.sandbox.jail import wire
from acecoder_jax.sandbox.job import Job, Limits
from acecoder_jax.sandbox.run import Run


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=8), st.data())
def test_frames_come_whole_however_they_are_cut(frames, data):
    stream = b"".join(wire.frame(kind, payload) for kind, payload in frames)
    parser, found = wire.Parser(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += parser.feed(stream[:cut])
        stream = stream[cut:]
    assert found == frames


def test_a_frame_past_the_cap_is_malformed():
    with pytest.raises(wire.Malformed):
        wire.Parser(max_frame=100).feed(wire.HEADER.pack(101, 1))


ZYGOTE = unittest.mock.Mock(waits_s=lambda: 0.0)


class FakeChannel:
    """A child that says what it likes, and then is gone."""

    fd, pid, events = -1, None, 0

    def __init__(self, data):
        self.parser, self.data, self.ended = wire.Parser(), data, False

    def send(self, data, fds=()):
        pass

    def read(self):
        self.ended = True
        data, self.data = self.data, b""
        return self.parser.feed(data)

    def cpu_s(self):
        return 0.0


class FakeChild:
    def __init__(self, data):
        self.channel, self.frames, self.expected = FakeChannel(data), collections.deque(), 100

    def read(self):
        self.frames.extend(self.channel.read())


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.tuples(st.sampled_from(b"vtohwxeuJ"), st.binary(max_size=30))))
def test_random_bytes_from_a_player_never_pass_a_test(data):
    if isinstance(data, list):
        data = b"".join(wire.frame(kind, payload) for kind, payload in data)
    grading = Grading(
        Job("fuzz", "", ("assert f(1) == 'a value that no random bytes hold'",), "f"), ZYGOTE, Limits(),
        {"stop": "never", "allow_inside": False, "preload": ()}, lambda: None,
    )  # fmt: skip
    processes = grading.processes
    processes.start = lambda slot, fds=(): FakeChild(data)  # type: ignore[method-assign]
    processes.drop = lambda child: "gone"  # type: ignore[method-assign]
    processes.close = lambda: None  # type: ignore[method-assign]
    with unittest.mock.patch("acecoder_jax.sandbox.grade.settle"):
        verdict = grading.run()
    assert isinstance(processes, Run) and verdict["statuses"][0] in ("fail", "error", "crash")
