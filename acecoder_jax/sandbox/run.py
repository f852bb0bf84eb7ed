"""The child processes of one program and the clock that they run against."""

import math
import os
import select
import signal
import time
from collections.abc import Callable

from . import clocks
from .children import JUDGE, Channel, Child, Zygote, ZygoteDied
from .jail import wire
from .jail.judge import STEP_TOLD_S
from .job import Limits

SLOW_S = 0.05  # a program that runs longer gives the jobs behind it back
LOOK_S = 0.5  # how often a long wait looks after the host
HELLO_S = 5.0
THREADS_S = 0.05  # how often the threads of a program that may start some are counted


class Timeout(Exception):  # noqa: N818 - it reads as what happened
    """A limit was reached."""


class Crowded(Exception):  # noqa: N818 - it reads as what happened
    """A child has started more threads than it may."""


class Died(Exception):  # noqa: N818 - it reads as what happened
    """A child's stream ended before it had answered."""

    def __init__(self, child: Child):
        self.child = child


class Run:
    """Starts, watches and ends the children of one program.

    A test has its own limits, whichever process uses the time. The program's limits count what its own processes use:
    the CPU time of judges is not the program's, and while a judge runs the program's wall clock stands still. So tests
    that hang leave the others theirs.
    """

    def __init__(self, zygote: Zygote, limits: Limits, on_slow: Callable[[], None]):
        self.zygote, self.limits, self.on_slow = zygote, limits, on_slow
        zygote.limit(limits)
        self.children: list[Child] = []
        self.began = self.test_began = self.program_began = time.monotonic()
        self.judge_began: float | None = None  # while a judge runs
        self.waited_s = -zygote.waits_s()
        self.test_cpu_s = 0.0  # that all had used when the test began
        self.step_began, self.step_cpu_s = self.began, 0.0  # the same of its present step
        self.spent_s = self.judges_s = 0.0  # CPU time of players, and of judges, that are gone
        self.memory_bytes = 0

    def start(self, slot: int, fds: tuple[int, ...] = ()) -> Child:
        """Fork a child."""
        child = self.zygote.fork(slot, fds)
        self.children.append(child)
        if slot == JUDGE:
            self.judge_began = time.monotonic()
        return child

    def drop(self, child: Child) -> str:
        """Kill a child, whatever it is doing, and reap it. How it ended, in words."""
        self.children.remove(child)
        channel = child.channel
        deadline = time.monotonic() + HELLO_S
        while not channel.kill():  # its process id comes with its first bytes
            if channel.ended or time.monotonic() > deadline:
                raise ZygoteDied("a child was not forked")
            poll([channel], HELLO_S)
            try:
                channel.read()
            except wire.Malformed:
                continue
        if time.monotonic() - self.began > SLOW_S:
            self.waited_s += clocks.waited_s(channel.pid)
        _, status, user_s, system_s, peak = self.zygote.reap(child)
        if child.slot == JUDGE:
            self.judges_s += user_s + system_s
            self.program_began += time.monotonic() - (self.judge_began or 0.0)
            self.judge_began = None
        else:
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
        self.test_began, self.test_cpu_s = time.monotonic(), sum(self._cpu_s())
        self.step_began, self.step_cpu_s = self.test_began, self.test_cpu_s

    def _take_step(self, children: tuple[Child, ...]) -> bool:
        """Whether the test has gone on to another step, which begins now."""
        if self.limits.step_s is None:
            return False
        stepped = any(child.stepped for child in children)
        if stepped:
            self.step_began, self.step_cpu_s = time.monotonic(), sum(self._cpu_s())
        for child in children:
            child.stepped = False
        return stepped

    def _cpu_s(self) -> tuple[float, float]:
        """CPU time used so far: the program's, the judges'."""
        program_s, judges_s = self.spent_s, self.judges_s
        for child in self.children:
            if child.slot == JUDGE:
                judges_s += child.channel.cpu_s()
            else:
                program_s += child.channel.cpu_s()
        return program_s, judges_s

    def left_s(self) -> float:
        """Seconds until a limit can be reached, since CPU time runs no faster than wall time; 0 or less: reached."""
        return min(self._cpu_left_s(), self._step_cpu_left_s(), self._wall_left_s())

    def _cpu_left_s(self) -> float:
        program_s, judges_s = self._cpu_s()
        return min(self.limits.test_s - (program_s + judges_s - self.test_cpu_s), self.limits.program_s - program_s)

    def _step_cpu_left_s(self) -> float:
        if self.limits.step_s is None or self.judge_began is None:
            return math.inf  # a program's own text has the test's limit to load
        return self.limits.step_s + STEP_TOLD_S - (sum(self._cpu_s()) - self.step_cpu_s)

    def _wall_left_s(self) -> float:
        """A crowded machine is no fault of the program: time in which processes waited for a core is not counted."""
        now, limits = time.monotonic(), self.limits
        left_s = min(
            limits.test_s * limits.wall_factor - (now - self.test_began),
            limits.program_s * limits.wall_factor - ((self.judge_began or now) - self.program_began),
        )
        if limits.step_s is not None and self.judge_began is not None:
            left_s = min(left_s, (limits.step_s + STEP_TOLD_S) * limits.wall_factor - (now - self.step_began))
        if left_s > 0:
            return left_s
        left_s += sum(clocks.waited_s(child.channel.pid) for child in self.children)
        return left_s + self.waited_s + self.zygote.waits_s()

    def check_clock(self) -> None:
        """Raises Timeout where this process's own work on what the program said has used up the time."""
        if self._wall_left_s() <= 0:
            raise Timeout

    @property
    def exhausted(self) -> bool:
        """The program's own budget, over all its tests, is used up."""
        self.start_test()
        return self.left_s() <= 0

    def wait(self, *children: Child) -> None:
        """Read from the children as soon as one has something to say or ends.

        Raises Timeout, Crowded, wire.Malformed.
        """
        left_s = self.left_s()
        if left_s <= 0:
            if self._cpu_left_s() > 0:  # what it said in time may lie here unread, where this process had to wait
                poll([child.channel for child in children], 0)
                for child in children:
                    child.read()
                if self._take_step(children) or any(child.frames or child.channel.ended for child in children):
                    return
            raise Timeout
        if time.monotonic() - self.began >= SLOW_S:
            self.on_slow()
            left_s = min(left_s, LOOK_S)
        else:
            left_s = min(left_s, SLOW_S)
        most = self.zygote.max_threads
        if most is not None:
            left_s = min(left_s, THREADS_S)
        poll([child.channel for child in children], left_s)
        for child in children:
            child.read()
            if most is not None and child.channel.threads() > most:
                raise Crowded(f"more than {most} threads")
        self._take_step(children)


def poll(channels: list[Channel], timeout_s: float) -> None:
    """Wait until one has something to read, or the time is over; write what is queued."""
    poller = select.poll()
    for channel in channels:
        if not channel.ended:
            poller.register(channel.fd, channel.events)
    for fd, events in poller.poll(timeout_s * 1000 + 1):
        if events & select.POLLOUT:
            next(channel for channel in channels if channel.fd == fd).flush()


def settle(child: Child, timeout_s: float) -> None:
    """Wait, without being woken by what it writes, until the child closes its channel or the time is over."""
    poller = select.poll()
    poller.register(child.channel.fd, select.POLLRDHUP)
    poller.poll(timeout_s * 1000)
