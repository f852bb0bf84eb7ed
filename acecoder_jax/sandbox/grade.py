"""Grades one job: values from a player, compared here or in a judge, become statuses."""

import dataclasses
import socket
import time
from collections.abc import Callable
from typing import Any

from . import calls, constant, stdin
from .children import JUDGE, PLAYER, Child, Zygote
from .jail import wire
from .jail.codec import Refused, encode, encode_list
from .jail.decode import decode
from .job import Job, Limits
from .plan import MAX_CALLS, inside, plan
from .run import Crowded, Died, Run, Timeout, poll, settle

QUIET_S = 0.01  # how long a player of constant asserts runs before its replies are read one by one
UNLINK_S = 0.05  # how long a player may take to see that a judge is gone: its program may be busy with a call
MAX_MESSAGE = 400  # characters
MAX_PROGRAM = 1 << 20  # bytes
MAX_VERDICT = 1 << 16  # bytes of a judge's verdict
_ORDER = ("constant", "judge", "stdin", "inside")  # the later the kind, the more its tests can do
UNLINKED = wire.LINK, b""  # a player says so when its judge has closed the link
_TIMEOUT = ("timeout", "killed: out of time")
_STATUSES = ("pass", "fail", "error", "timeout", "crash")


class NotLoaded(Exception):  # noqa: N818 - it reads as what happened
    """The program's own text raised: no test of it can run."""


class Grading:
    """One job under way. Use once: run() gives the verdict as JSON values."""

    def __init__(self, job: Job, zygote: Zygote, limits: Limits, options: dict[str, Any], on_slow: Callable[[], None]):
        self.job, self.stop, self.allow_inside = job, options["stop"], options["allow_inside"]
        if job.profile == "stdin":
            self.tests = [stdin.plan(test) for test in job.tests]
        elif job.profile == "calls":
            self.tests = [calls.plan(test, job.entry_point or "") for test in job.tests]
        elif job.profile == "library":
            self.tests = [inside(test) for test in job.tests]
            self.allow_inside = True  # there is no other way, and whoever made the sandbox with a Library knows it
        else:
            self.tests = list(plan(job.tests, job.entry_point, job.setup, tuple(options["preload"])))
        self.found: list[tuple[str, str] | None] = [None] * len(self.tests)
        self.processes = Run(zygote, limits, on_slow)
        self.player: Child | None = None
        self.loaded = False
        self.at = 0  # the test that is running
        self.recorded: set[int] = set()  # tests of which the message is what the program printed, whole

    def run(self) -> dict[str, Any]:
        """Judge every test."""
        for at, test in enumerate(self.tests):
            if test.kind == "broken":
                self._conclude(at, "error", test.message)
        size = len(self.job.program.encode("utf-8", "surrogatepass"))
        if size > MAX_PROGRAM:
            self._rest("error", f"a program of {size} bytes")
        try:
            while (one := self._next()) is not None:
                self._step(one)
        finally:
            self.processes.close()
        found = [one or ("infra", "not judged") for one in self.found]
        return {
            "statuses": [status for status, _ in found],
            "messages": [
                message if at in self.recorded else message[:MAX_MESSAGE] for at, (_, message) in enumerate(found)
            ],
            "mode": "inside" if any(test.kind == "inside" for test in self.tests) else "values",
            "time_s": time.monotonic() - self.processes.began,
            "memory_bytes": self.processes.memory_bytes,
        }

    def _next(self) -> int | None:
        """The next test without a status, the harmless kinds first."""
        if None not in self.found:
            return None
        if self.processes.exhausted:
            self._rest("timeout", "the program's time is up")
            return None
        remaining = [at for at, found in enumerate(self.found) if found is None]
        return min(remaining, key=lambda at: (_ORDER.index(self.tests[at].kind), at))

    def _step(self, at: int) -> None:
        """Run one test, or a row of constant ones. A child that dies or runs out of time costs that test alone."""
        self.at = at
        try:
            {
                "constant": self._constants,
                "judge": self._judged,
                "inside": self._inside,
                "stdin": self._script,
            }[self.tests[at].kind](at)
        except NotLoaded as error:
            self._rest(*error.args)
        except (Timeout, Crowded, Died, wire.Malformed) as failure:
            self._failed(*self._explain(failure))

    def _explain(self, failure: Exception) -> tuple[str, str]:
        """The status and message of what a child did. One that has died is reaped."""
        if isinstance(failure, Timeout):
            return _TIMEOUT
        if isinstance(failure, Crowded):
            return "crash", str(failure)
        if not isinstance(failure, Died):
            return "crash", f"a malformed reply: {failure}"
        reason = self.processes.drop(failure.child)
        if "SIGXCPU" in reason:  # the kernel's own limit, a backstop
            return _TIMEOUT
        if failure.child is not self.player:
            return "crash", f"the test itself: {reason}"
        self.player = None
        return "crash", reason

    def _failed(self, status: str, message: str) -> None:
        """End the present test, and every child. Where the program did not even load, no test can run."""
        self.processes.close()
        if self.loaded:
            self._conclude(self.at, status, message)
        else:
            self._rest(status, message)
        self.player = None

    def _conclude(self, at: int, status: str, message: str) -> None:
        self.found[at] = status, message
        if (self.stop == "failure" and status != "pass") or (self.stop == "timeout" and status == "timeout"):
            self._rest(status, f"not run: stopped after test {at}")

    def _rest(self, status: str, message: str) -> None:
        self.found = [found or (status, message) for found in self.found]

    # ---- the player

    def _play(self, request: bytes) -> Child:
        """Send a request to the player, which is forked and given the program first where there is none."""
        if self.player is None:
            self.loaded = False
            self.player = self.processes.start(PLAYER)
            request = wire.frame(wire.PROGRAM, encode((self.job.program, "program"))) + request
        self.processes.start_test()
        self.player.channel.send(request)
        return self.player

    def _end_player(self) -> None:
        if self.player is not None:
            self.processes.drop(self.player)
            self.player = None

    def _reply(self, player: Child) -> tuple[int, bytes]:
        """The player's next frame. Raises NotLoaded, Timeout, Died, wire.Malformed."""
        if not self.loaded:
            self._load(player)
        return self._frame(player)

    def _load(self, player: Child) -> None:
        """Wait until the program's own text has run. Raises as _reply does."""
        kind, payload = self._frame(player)
        if kind == wire.NOT_LOADED:
            raise NotLoaded(*constant.raised(payload))
        if kind != wire.LOADED:
            raise wire.Malformed("an answer before the program was loaded")
        self.loaded = True
        self.processes.start_test()

    def _frame(self, player: Child) -> tuple[int, bytes]:
        while not player.frames:
            if player.channel.ended:
                raise Died(player)
            self.processes.wait(player)
        return player.frames.popleft()

    # ---- constant tests

    def _constants(self, first: int) -> None:
        """Judge a row of constant tests on the replies of one player, which is asked for all of them at once."""
        row, calls = self._row(first)
        open_tests = (test for found, test in zip(self.found, self.tests, strict=True) if found is None)
        last = len(row) == sum(test.kind in ("constant", "judge") for test in open_tests)
        player = self._play(wire.frame(wire.CALLS, encode_list([encode(last), *calls])))
        player.expected = len(calls) + 1  # and that the program has been loaded
        if last:
            settle(player, QUIET_S)
            player.read()
        for at in row:
            if at != first:
                self.at = at
                self.processes.start_test()
            self._one_constant(at, player)
            if None not in self.found:
                break
        if last:
            self._end_player()

    def _row(self, first: int) -> tuple[list[int], list[bytes]]:
        """The constant tests from `first` on that a player is asked for at once, and their calls."""
        row: list[int] = []
        calls: list[bytes] = []
        size = 0
        for at in range(first, len(self.tests)):
            if self.found[at] is not None or self.tests[at].kind != "constant":
                continue
            more = [check.call for check in self.tests[at].checks]
            size += sum(map(len, more))
            if row and size > MAX_CALLS:
                break
            row.append(at)
            calls += more
        return row, calls

    def _one_constant(self, at: int, player: Child) -> None:
        status, message, judge = "pass", "", False
        for check in self.tests[at].checks:
            kind, payload = self._reply(player)
            if status != "pass" or judge:
                continue  # an earlier assert of this test has failed: the reply is not for anyone
            try:
                status, message = constant.outcome(check, kind, payload)
            except constant.NeedsJudge:
                judge = True
            if payload != check.expected_bytes:  # it had to be read, here
                self.processes.check_clock()
        if judge:
            self.tests[at] = dataclasses.replace(self.tests[at], kind="judge", stubs=(self.tests[at].checks[0].name,))
        else:
            self._conclude(at, status, message)

    # ---- other tests

    def _judged(self, at: int) -> None:
        """Run a test in a judge of its own, linked to the player, once the program has been loaded."""
        test = self.tests[at]
        player = self._play(b"")
        if not self.loaded:
            self._load(player)
        of_player, of_judge = socket.socketpair()
        with of_player, of_judge:
            player.channel.send(wire.frame(wire.LINK), (of_player.fileno(),))
            judge = self.processes.start(JUDGE, (of_judge.fileno(),))
        judge.channel.send(wire.frame(wire.TEST, encode((self.job.setup, test.source, test.stubs, test.provided))))
        try:
            verdict = self._verdict(player, judge)
        except (Timeout, Died, wire.Malformed) as failure:
            verdict = self._explain(failure)
        if judge in self.processes.children:
            self.processes.drop(judge)
        self._conclude(at, *verdict)
        if None in self.found:
            self._unlink()

    def _verdict(self, player: Child, judge: Child) -> tuple[str, str]:
        """What the judge says. Raises Timeout, Died, wire.Malformed."""
        while not judge.frames:
            if player.frames and [*player.frames] != [UNLINKED]:
                raise wire.Malformed("an answer that nobody asked for")
            if player.channel.ended:
                raise Died(player)
            if judge.channel.ended:
                raise Died(judge)
            self.processes.wait(player, judge)
        return _read_verdict(*judge.frames.popleft())

    def _unlink(self) -> None:
        """Keep the player where it is done with the judge that is gone. A busy one, or worse, is ended."""
        player = self.player
        if player is None:
            return
        deadline = time.monotonic() + UNLINK_S
        try:
            while not (player.frames or player.channel.ended) and (left_s := deadline - time.monotonic()) > 0:
                poll([player.channel], left_s)
                player.read()
        except wire.Malformed:
            player.frames.clear()
        if [*player.frames] == [UNLINKED]:
            player.frames.clear()
        else:
            self._end_player()

    def _inside(self, at: int) -> None:
        """Run a test beside the program, in a player of its own. Untrusted."""
        self._end_player()
        player = self._play(wire.frame(wire.INSIDE, encode((self.job.setup, self.tests[at].source))))
        status, message = _read_verdict(*self._reply(player))
        if status == "pass" and not self.allow_inside:
            status, message = "fail", "it passed inside the program's process, which earns nothing unless allow_inside"
        self._conclude(at, status, message)
        self._end_player()

    def _script(self, at: int) -> None:
        """Run the program once on one input, and compare what it printed."""
        given, expected = stdin.parse(self.tests[at].source)
        self.loaded = True  # each run is a program of its own: a failure costs one test
        limit = self.processes.limits.output_bytes
        printed, failed = stdin.run_script(self.processes, self.job.program, given, limit)
        if expected is not None:
            self._conclude(at, *(failed or stdin.compare(printed, expected)))
        elif failed is not None:
            self._conclude(at, *failed)
        else:
            self.recorded.add(at)
            self._conclude(at, "pass", printed)


def _read_verdict(kind: int, payload: bytes) -> tuple[str, str]:
    try:
        verdict = decode(payload) if kind == wire.VERDICT and len(payload) <= MAX_VERDICT else None
    except Refused:
        verdict = None
    if type(verdict) is not tuple or [*map(type, verdict)] != [str, str] or verdict[0] not in _STATUSES:
        raise wire.Malformed("not a verdict")
    return verdict
