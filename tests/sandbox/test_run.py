import collections
import os

import pytest

from acecoder_jax.sandbox.children import JUDGE, PLAYER
from acecoder_jax.sandbox.clocks import Waits
from acecoder_jax.sandbox.job import Limits
from acecoder_jax.sandbox.run import Run, Timeout


class Zygote:
    """Has waited for a core as long as it is told."""

    waited_s = 0.0

    def limit(self, limits):
        pass

    def waits_s(self):
        return self.waited_s


class Channel:
    """A child that says what it has to say at the first reading."""

    events, ended, pid = 1, False, None

    def __init__(self):
        self.fd, self.other = os.pipe()
        self.spent_s = 0.0

    def cpu_s(self):
        return self.spent_s

    def flush(self):
        pass


class Child:
    slot = PLAYER

    def __init__(self, *frames):
        self.channel, self.frames, self.coming = Channel(), collections.deque(), list(frames)
        if frames:
            os.write(self.channel.other, b"!")

    def read(self):
        self.frames.extend(self.coming)


def running(child, ago_s):
    run = Run(Zygote(), Limits(test_s=1.0, program_s=1.0, wall_factor=2.0), lambda: None)
    run.began -= ago_s
    run.program_began -= ago_s
    run.test_began -= ago_s
    run.children.append(child)
    return run


def test_wall_time_ends_a_silent_program():
    child = Child()
    with pytest.raises(Timeout):
        running(child, 2.1).wait(child)


def test_an_answer_that_was_only_read_late_counts():
    child = Child((b"v"[0], b""))
    running(child, 2.1).wait(child)
    assert child.frames


def test_an_answer_past_the_cpu_limit_does_not():
    child = Child((b"v"[0], b""))
    run = running(child, 2.1)
    child.channel.spent_s = 1.5
    with pytest.raises(Timeout):
        run.wait(child)


def test_waiting_for_a_core_is_not_the_programs_fault():
    child = Child((b"v"[0], b""))
    run = running(child, 2.5)
    assert run.left_s() < 0
    run.zygote.waited_s = 1.0
    assert 0 < run.left_s() < 1.0 and not run.exhausted


def test_a_judge_uses_up_its_test_but_not_the_program(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    zygote = Zygote()
    zygote.reap = lambda child: (child.slot, 0, child.channel.spent_s, 0.0, 0)
    judge, player = Child(), Child()
    zygote.fork = lambda slot, fds: judge if slot == JUDGE else player
    judge.slot, judge.channel.kill = JUDGE, lambda: True
    run = Run(zygote, Limits(test_s=1.0, program_s=1.5, wall_factor=2.0), lambda: None)
    run.start(PLAYER)
    run.start_test()
    player.channel.spent_s = 0.2
    for _ in range(5):
        run.start(JUDGE)
        run.start_test()
        judge.channel.spent_s = 0.75
        assert run.left_s() == pytest.approx(0.25)
        clock[0] += 1.99
        assert run.left_s() == pytest.approx(0.01)
        judge.channel.spent_s = 1.0
        assert run.left_s() <= 0
        run.drop(judge)
        judge.channel.spent_s = 0.0
    assert not run.exhausted and run.left_s() == pytest.approx(1.0)
    player.channel.spent_s = 1.5
    assert run.exhausted


def test_the_kernel_tells_how_long_a_process_waited():
    waits = Waits(os.getpid())
    assert waits.total_s() >= 0
    waits.close()
    assert waits.total_s() == 0.0
    assert Waits(None).total_s() == 0.0
