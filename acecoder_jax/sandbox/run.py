"""The child processes of one program and the clock that they run against."""

import os
import select
import signal
import time
from collections.abc import Callable

from .children import Channel, Child, Waits, Zygote, ZygoteDied
from .jail import wire
from .job import Limits

SLOW_S = 0.05  # a program that runs longer gives the jobs behind it back
LOOK_S = 0.5  # how often a long wait looks after the host
HELLO_S = 5.0


class Timeout(Exception):  # noqa: N818 - it reads as what happened
    """A limit was reached."""


class Died(Exception):  # noqa: N818 - it reads as what happened
    """A child's stream ended before it had answered."""

    def __init__(self, child: Child):
        self.child = child


class Run:
    """Starts, watches and ends the children of one program. CPU time of children that are gone is in spent_s."""

    def __init__(self, zygote: Zygote, limits: Limits, on_slow: Callable[[], None]):
        self.zygote, self.limits, self.on_slow = zygote, limits, on_slow
        self.children: list[Child] = []
        self.began = self.test_began = time.monotonic()
        self.waited_s = -zygote.waits_s()
        self.spent_s = self.test_cpu_s = 0.0
        self.memory_bytes = 0

    def start(self, slot: int, fds: tuple[int, ...] = ()) -> Child:
        """Fork a child."""
        child = self.zygote.fork(slot, fds)
        self.children.append(child)
        return child

    def drop(self, child: Child) -> str:
        """Kill a child, whatever it is doing, and reap it. How it ended, in words."""
        self.children.remove(child)
        channel = child.channel
        deadline = time.monotonic() + HELLO_S
        while not channel.kill():  # its process id comes with its first bytes
            if channel.ended or time.monotonic() > deadline:
                raise ZygoteDied("a child was not forked")
            _poll([channel], HELLO_S)
            try:
                channel.read()
            except wire.Malformed:
                continue
        if time.monotonic() - self.began > SLOW_S:
            waits = Waits(channel.pid)
            self.waited_s += waits.total_s()
            waits.close()
        _, status, user_s, system_s, peak = self.zygote.reap(child)
        self.spent_s += user_s + system_s
        self.memory_bytes = max(self.memory_bytes, peak)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"the process ended with exit code {code}"
        return f"the process was killed by {signal.Signals(-code).name if -code < signal.SIGRTMIN else -code}"

    def close(self) -> None:
        """Drop every child."""
        while self.children:
            self.drop(self.children[-1])

    # ---- time

    def start_test(self) -> None:
        """The next test begins now."""
        self.test_began, self.test_cpu_s = time.monotonic(), self._cpu_s()

    def _cpu_s(self) -> float:
        return self.spent_s + sum(child.channel.cpu_s() for child in self.children)

    def left_s(self) -> float:
        """Seconds until a limit can be reached, since CPU time runs no faster than wall time; 0 or less: reached."""
        return min(self._cpu_left_s(), self._wall_left_s())

    def _cpu_left_s(self) -> float:
        cpu_s = self._cpu_s()
        return min(self.limits.test_s - (cpu_s - self.test_cpu_s), self.limits.program_s - cpu_s)

    def _wall_left_s(self) -> float:
        """A crowded machine is no fault of the program: time in which processes waited for a core is not counted."""
        now, limits = time.monotonic(), self.limits
        left_s = min(
            limits.test_s * limits.wall_factor - (now - self.test_began),
            limits.program_s * limits.wall_factor - (now - self.began),
        )
        if left_s > 0:
            return left_s
        for child in self.children:
            waits = Waits(child.channel.pid)
            left_s += waits.total_s()
            waits.close()
        return left_s + self.waited_s + self.zygote.waits_s()

    @property
    def exhausted(self) -> bool:
        """The program's own budget, over all its tests, is used up."""
        self.start_test()
        return self.left_s() <= 0

    def wait(self, *children: Child) -> None:
        """Read from the children as soon as one has something to say or ends. Raises Timeout, wire.Malformed."""
        left_s = self.left_s()
        if left_s <= 0:
            if self._cpu_left_s() > 0:  # what it said in time may lie here unread, where this process had to wait
                _poll([child.channel for child in children], 0)
                for child in children:
                    child.read()
                if any(child.frames or child.channel.ended for child in children):
                    return
            raise Timeout
        if time.monotonic() - self.began >= SLOW_S:
            self.on_slow()
            left_s = min(left_s, LOOK_S)
        else:
            left_s = min(left_s, SLOW_S)
        _poll([child.channel for child in children], left_s)
        for child in children:
            child.read()


def _poll(channels: list[Channel], timeout_s: float) -> None:
    poll = select.poll()
    for channel in channels:
        if not channel.ended:
            poll.register(channel.fd, channel.events)
    for fd, events in poll.poll(timeout_s * 1000 + 1):
        if events & select.POLLOUT:
            next(channel for channel in channels if channel.fd == fd).flush()


def settle(child: Child, timeout_s: float) -> None:
    """Wait, without being woken by what it writes, until the child closes its channel or the time is over."""
    poll = select.poll()
    poll.register(child.channel.fd, select.POLLRDHUP)
    poll.poll(timeout_s * 1000)
