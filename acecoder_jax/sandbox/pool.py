"""The sandbox as the rest of the system sees it: submit programs, get verdicts."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from ..types import Status, Verdict
from .job import Job, Limits
from .settings import SandboxError, describe, jail_settings

DEPTH = 16  # jobs that a worker holds: enough to hide this process's own delays
BUSY, PAUSE_S = 8, 0.001
ATTEMPTS = 3  # before a job whose worker breaks is given up as infra
_JSON = json.JSONEncoder(check_circular=False).encode
_BOOT = "import sys; sys.path.insert(0, sys.argv[3]); from acecoder_jax.sandbox.supervisor import main; main()"


@dataclasses.dataclass
class _Task:
    job: Job
    future: concurrent.futures.Future[Verdict]
    line: bytes
    attempts: int = 0
    broken: str = ""


class _Worker:
    """A supervisor process and the jobs that it holds, in the order in which it grades them."""

    def __init__(self, settings: dict[str, Any], core: int | None):
        self.core = core
        self.socket, other = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        command = [
            sys.executable,
            "-s",
            "-S",
            "-P",
            "-c",
            _BOOT,
            str(other.fileno()),
            json.dumps(settings | {"core": core}),
            root,
        ]
        with other:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[other.fileno()],
                start_new_session=True, env={"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        self.held: dict[int, _Task] = {}
        self.slow = False
        self.received = b""
        self.unsent = b""

    def ready(self) -> None:
        """Wait until it has started. Raises SandboxError."""
        self.socket.settimeout(60.0)
        while not self.received.endswith(b"\n"):
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise SandboxError(f"a sandbox worker did not start (exit code {self.process.poll()})")
            self.received += data
        row, self.received = json.loads(self.received), b""
        if "failed" in row:
            raise SandboxError(f"a sandbox worker did not start: {row['failed']}")
        self.socket.setblocking(False)

    def stop(self) -> None:
        """End the process and everything under it: it kills its zygote when the socket closes."""
        self.socket.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sandbox:
    """Runs untrusted programs against tests.

    with Sandbox(workers=2) as sandbox:
        future = sandbox.submit(job)              # a concurrent.futures.Future; asyncio.wrap_future(future) awaits it
        for verdict in sandbox.score(jobs): ...   # as they finish

    Thread-safe.

    workers: processes that grade at the same time; None or 0: one a core.
    min_isolation: the weakest tier (4) to the strongest (1) that will do. isolation: exactly this tier, not the best.
    allow_inside: let tests pass that can only run beside the program (Verdict.mode "inside"), and so can be fooled.
    stop: "never", "failure" (at the first test that is not passed) or "timeout" (after the first).
    preload: packages beside the standard library that programs may import.
    quiet: do not print the isolation at start.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits | None = None,
        min_isolation: int = 4,
        *,
        isolation: int | None = None,
        allow_inside: bool = False,
        stop: str = "never",
        preload: Iterable[str] = (),
        quiet: bool = False,
    ):
        if stop not in ("never", "failure", "timeout"):
            raise ValueError(f"unknown stop {stop!r}: never, failure or timeout")
        self.limits = limits or Limits()
        self.workers = workers or len(os.sched_getaffinity(0))
        self.quiet = quiet
        preload = tuple(preload)
        self._settings = {
            "limits": dataclasses.asdict(self.limits),
            "options": {"stop": stop, "allow_inside": allow_inside, "preload": preload},
        }
        self._isolation = isolation, min_isolation, preload
        self.report: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._queue: collections.deque[_Task] = collections.deque()
        self._number = 0
        self._pool: list[_Worker] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._wake, self._woken = -1, -1

    # ---- life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start the workers. Raises SandboxError, also where the machine cannot give min_isolation."""
        if self._thread is not None:
            raise SandboxError("the sandbox has been started")
        self._settings["jail"], self.report = jail_settings(self.limits, *self._isolation)
        try:
            self._pool = [_Worker(self._settings, core) for core in _cores(self.workers)]
            for worker in self._pool:
                worker.ready()
        except BaseException:
            for worker in self._pool:
                worker.stop()
            raise
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._thread = threading.Thread(target=self._loop, name="sandbox", daemon=True)
        self._thread.start()
        if not self.quiet:
            print(f"sandbox: {self.workers} workers, {describe(self.report)}", file=sys.stderr)
        return self

    def close(self) -> None:
        """End every process. Jobs without a verdict are cancelled."""
        with self._lock:
            if self._thread is None or self._closing:
                return
            self._closing = True
        self._notify()
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    # ---- use

    def submit(self, job: Job) -> "concurrent.futures.Future[Verdict]":
        """Grade a job. Returns at once, from any thread."""
        row = (job.id, job.program, job.tests, job.entry_point, job.setup, job.profile)
        task = _Task(job, concurrent.futures.Future(), _JSON(row).encode())
        with self._lock:
            if self._thread is None or self._closing:
                raise SandboxError("the sandbox is not running: use it in a with block")
            self._queue.append(task)
            wake = len(self._queue) == 1
        if wake:
            self._notify()
        return task.future

    def score(self, jobs: Iterable[Job], window: int | None = None) -> Iterator[Verdict]:
        """Verdicts as they finish, in that order; `window` jobs are under way at a time, so `jobs` may be endless."""
        window = window or 4 * DEPTH * self.workers
        waiting: set[concurrent.futures.Future[Verdict]] = set()
        done: collections.deque[concurrent.futures.Future[Verdict]] = collections.deque()
        finished = threading.Semaphore(0)

        def note(future: "concurrent.futures.Future[Verdict]") -> None:
            done.append(future)
            finished.release()

        source = iter(jobs)
        more = True
        while more or waiting:
            while more and len(waiting) < window:
                job = next(source, None)
                if job is None:
                    more = False
                    break
                future = self.submit(job)
                waiting.add(future)
                future.add_done_callback(note)
            if waiting:
                finished.acquire()
                future = done.popleft()
                waiting.discard(future)
                yield future.result()

    # ---- the thread that talks to the workers

    def _notify(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"!")

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for worker in self._pool:
                selector.register(worker.socket, selectors.EVENT_READ, worker)
            while not self._closing:
                for key, events in selector.select():
                    worker = key.data
                    if worker is None:
                        os.read(self._woken, 1 << 16)
                    elif events & selectors.EVENT_READ and not self._read(worker):
                        self._replace(worker, selector)
                self._feed(selector)
                if sum(len(worker.held) for worker in self._pool) >= BUSY * len(self._pool):
                    time.sleep(PAUSE_S)  # they have plenty to do: take their verdicts in handfuls
        for worker in self._pool:
            worker.stop()
        with self._lock:
            left = [*self._queue, *(task for worker in self._pool for task in worker.held.values())]
            self._queue.clear()
        for task in left:
            task.future.cancel()

    def _feed(self, selector: selectors.BaseSelector) -> None:
        """Hand queued jobs to workers that have room, the emptiest first."""
        with self._lock:
            while self._queue:
                room = [worker for worker in self._pool if not worker.slow and len(worker.held) < DEPTH]
                if not room:
                    break
                worker = min(room, key=lambda worker: len(worker.held))
                task = self._queue.popleft()
                self._number += 1
                worker.held[self._number] = task
                worker.unsent += b'{"n": %d, "job": %b}\n' % (self._number, task.line)
        for worker in self._pool:
            if worker.unsent:
                try:
                    worker.unsent = worker.unsent[worker.socket.send(worker.unsent) :]
                except BlockingIOError:
                    pass
                except OSError:
                    worker.unsent = b""  # it is dead: seen at the next read
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.unsent else 0)
            if selector.get_key(worker.socket).events != events:
                selector.modify(worker.socket, events, worker)

    def _read(self, worker: _Worker) -> bool:
        """Take in verdicts. False when the worker has died."""
        try:
            data = worker.socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            return False
        *lines, worker.received = (worker.received + data).split(b"\n")
        for line in lines:
            row = json.loads(line)
            task = worker.held.pop(row["n"])
            if row.get("back"):
                worker.slow = True
                with self._lock:
                    self._queue.appendleft(task)
            elif "broken" in row:
                worker.slow = False
                self._retry(task, row["broken"])
            else:
                worker.slow = False
                _resolve(task, _verdict(task.job, row["verdict"]))
        return True

    def _retry(self, task: _Task, broken: str) -> None:
        task.attempts += 1
        if task.attempts < ATTEMPTS:
            with self._lock:
                self._queue.appendleft(task)
        else:
            count = len(task.job.tests)
            _resolve(task, Verdict(task.job.id, (Status.INFRA,) * count, (broken[:400],) * count))

    def _replace(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        """A worker has died: start another. Only the job that it was at may be the cause."""
        selector.unregister(worker.socket)
        worker.stop()
        held = list(worker.held.values())
        for task in held[:0:-1]:
            with self._lock:
                self._queue.appendleft(task)
        if held:
            self._retry(held[0], "the worker died")
        fresh = _Worker(self._settings, worker.core)
        fresh.ready()
        self._pool[self._pool.index(worker)] = fresh
        selector.register(fresh.socket, selectors.EVENT_READ, fresh)


def _cores(workers: int) -> list[int | None]:
    """A core for each worker, where there are enough: its processes wait for one another, and find their memory in the
    caches where the other one left it (a third faster on two cores).
    """
    cores: list[int | None] = [*sorted(os.sched_getaffinity(0))]
    if workers > len(cores):
        return [None] * workers
    first = os.getpid() % len(cores)  # sandboxes of several trainers start on different ones
    return [*cores[first:], *cores[:first]][:workers]


def _resolve(task: _Task, verdict: Verdict) -> None:
    if task.future.set_running_or_notify_cancel():
        task.future.set_result(verdict)


def _verdict(job: Job, row: dict[str, Any]) -> Verdict:
    return Verdict(
        id=job.id,
        statuses=tuple(Status(status) for status in row["statuses"]),
        messages=tuple(row["messages"]),
        mode=row["mode"],
        time_s=row["time_s"],
        memory_bytes=row["memory_bytes"],
    )
