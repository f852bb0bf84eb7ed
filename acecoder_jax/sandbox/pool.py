"""The sandbox as the rest of the system sees it: submit programs, get verdicts."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, Self

from ..types import Status, Verdict
from .job import Job, Limits
from .library import Library, library_settings
from .settings import SandboxError, describe, jail_settings
from .worker import DEPTH, Task, Worker, cores, verdict

BUSY, PAUSE_S = 12, 0.01
ATTEMPTS = 3  # before a job whose worker breaks is given up as infra
PAUSES_S = (0.5, 2.0, 8.0)  # before each further try to start a worker; the last again and again while another works
LOOK_S = 1.0  # how often the workers are looked at: one that is stuck is killed
_JSON = json.JSONEncoder(check_circular=False).encode


@dataclasses.dataclass
class _Vacancy:
    """Where a worker is missing: when, and for the how-many-th time since one last started, to start another."""

    core: int | None
    failures: int = 0
    due: float = 0.0


class Sandbox:
    """Runs untrusted programs against tests.

    with Sandbox(workers=2) as sandbox:
        future = sandbox.submit(job)              # a concurrent.futures.Future; asyncio.wrap_future(future) awaits it
        for verdict in sandbox.score(jobs): ...   # as they finish

    Thread-safe.

    workers: processes that grade at the same time; None or 0: one a core.
    limits: what each program may use, unless its job has limits of its own.
    min_isolation: the weakest tier (4) to the strongest (1) that will do. isolation: exactly this tier, not the best.
    allow_inside: let tests pass that can only run beside the program (Verdict.mode "inside"), and so can be fooled.
    stop: "never", "failure" (at the first test that is not passed) or "timeout" (after the first).
    preload: packages beside the standard library that programs may import.
    library: what programs of the library profile have; None: there is no such profile. For evaluation alone.
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
        library: Library | None = None,
        quiet: bool = False,
    ):
        if stop not in ("never", "failure", "timeout"):
            raise ValueError(f"unknown stop {stop!r}: never, failure or timeout")
        self.limits = limits or Limits()
        if not isinstance(workers, int | None) or (workers or 0) < 0:
            raise ValueError(f"workers must be a number from 0 up, or None, not {workers!r}")
        self.workers = workers or len(os.sched_getaffinity(0))
        self.quiet, self.library = quiet, library
        preload = tuple(preload)
        self._settings = {
            "limits": dataclasses.asdict(self.limits),
            "options": {"stop": stop, "allow_inside": allow_inside, "preload": preload},
        }
        self._isolation = isolation, min_isolation, preload
        self.report: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._queue: collections.deque[Task] = collections.deque()
        self._number = 0
        self._pool: list[Worker] = []
        self._vacant: list[_Vacancy] = []
        self._broken = ""  # why no worker can be had any more
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
        self._settings["jail"], self.report = jail_settings(*self._isolation)
        if self.library is not None:
            self._settings["library"] = library_settings(self.library, self.report["tier"])
        try:
            for core in cores(self.workers):
                self._pool.append(Worker(self._settings, core))
            for worker in self._pool:
                worker.wait_until_started()
        except BaseException:
            for worker in self._pool:
                worker.stop()
            raise
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._thread.start()
        if not self.quiet:
            more = f"; {self.library.describe()}" if self.library else ""
            print(f"sandbox: {self.workers} workers, {describe(self.report)}{more}", file=sys.stderr)
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
        """Grade a job. Returns at once, from any thread. SandboxError for a profile that this sandbox does not have."""
        if job.profile == "library" and self.library is None:
            raise SandboxError(f"job {job.id!r}: the library profile is there where Sandbox is given a Library")
        task = Task(job, concurrent.futures.Future(), _JSON(job.to_row()).encode())
        with self._lock:
            if self._thread is None or self._closing:
                raise SandboxError("the sandbox is not running: use it in a with block")
            if self._broken:
                raise SandboxError(self._broken)
            self._queue.append(task)
            wake = len(self._queue) == 1
        if wake:
            self._notify()
        return task.future

    def score(self, jobs: Iterable[Job], window: int | None = None) -> Iterator[Verdict]:
        """Verdicts as they finish, in that order; `window` jobs are under way at a time, so `jobs` may be endless."""
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
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

    def _run(self) -> None:
        try:
            self._loop()
        except Exception:  # whatever it is, nobody shall wait for ever
            with self._lock:
                self._broken = f"the sandbox's own thread failed: {traceback.format_exc()}"
        finally:
            for worker in self._pool:
                worker.stop()
            self._end_all()

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for worker in self._pool:
                selector.register(worker.socket, selectors.EVENT_READ, worker)
            look = 0.0
            while not self._closing and not self._broken:
                for key, events in selector.select(self._patience_s()):
                    worker = key.data
                    if worker is None:
                        os.read(self._woken, 1 << 16)
                    elif events & selectors.EVENT_READ and not self._read(worker):
                        self._bury(worker, selector)
                if (now := time.monotonic()) >= look:
                    look = now + LOOK_S
                    for worker in [worker for worker in self._pool if worker.stuck(self.limits)]:
                        worker.kill()
                        self._bury(worker, selector)
                if self._vacant:
                    self._fill(selector)
                self._feed(selector)
                if sum(len(worker.held) for worker in self._pool) >= BUSY * len(self._pool):
                    time.sleep(PAUSE_S)  # they have plenty to do: take their verdicts in handfuls

    def _patience_s(self) -> float | None:
        """How long to wait for news: for ever where all is well and nothing is under way."""
        due = [vacancy.due - time.monotonic() for vacancy in self._vacant]
        if any(worker.held or not worker.started for worker in self._pool):
            due.append(LOOK_S)
        return max(min(due), 0.0) if due else None

    def _end_all(self) -> None:
        """Cancel what has no verdict, or fail it where the sandbox is broken."""
        with self._lock:
            left = [*self._queue, *(task for worker in self._pool for task in worker.held.values())]
            self._queue.clear()
        for task in left:
            if not self._broken:
                task.future.cancel()
            elif task.future.set_running_or_notify_cancel():
                task.future.set_exception(SandboxError(self._broken))

    def _feed(self, selector: selectors.BaseSelector) -> None:
        """Hand queued jobs to workers that have room, the emptiest first."""
        with self._lock:
            while self._queue:
                room = [one for one in self._pool if one.has_room]
                if not room:
                    break
                worker = min(room, key=lambda worker: len(worker.held))
                self._number += 1
                worker.give(self._number, self._queue.popleft())
        for worker in self._pool:
            if worker.unsent:
                try:
                    del worker.unsent[: worker.socket.send(worker.unsent)]
                except BlockingIOError:
                    pass
                except OSError:
                    worker.unsent.clear()  # it is dead: seen at the next read
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.unsent else 0)
            if selector.get_key(worker.socket).events != events:
                selector.modify(worker.socket, events, worker)

    def _read(self, worker: Worker) -> bool:
        """Take in verdicts. False when the worker has died."""
        rows = worker.receive()
        for row in rows or ():
            if "n" not in row:
                continue  # it has started
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
                _resolve(task, verdict(task.job, row["verdict"]))
        return rows is not None

    def _retry(self, task: Task, broken: str) -> None:
        task.attempts += 1
        if task.attempts < ATTEMPTS:
            with self._lock:
                self._queue.appendleft(task)
        else:
            count = len(task.job.tests)
            _resolve(task, Verdict(task.job.id, (Status.INFRA,) * count, (broken[:400],) * count))

    def _bury(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        """A worker has died: there shall be another. Only the job that it was at may be the cause."""
        selector.unregister(worker.socket)
        self._pool.remove(worker)
        worker.stop()
        held = list(worker.held.values())
        for task in held[:0:-1]:
            with self._lock:
                self._queue.appendleft(task)
        if held:
            self._retry(held[0], f"the worker died: {worker.failed}")
        if worker.started:
            self._vacant.append(_Vacancy(worker.core))
        else:
            self._fail(_Vacancy(worker.core, worker.failures), worker.failed)

    def _fill(self, selector: selectors.BaseSelector) -> None:
        """Start the workers that are due. They tell when they have started, and nobody waits for that."""
        for vacancy in [vacancy for vacancy in self._vacant if vacancy.due <= time.monotonic()]:
            self._vacant.remove(vacancy)
            try:
                fresh = Worker(self._settings, vacancy.core, vacancy.failures)
            except SandboxError as error:
                self._fail(vacancy, str(error))
                continue
            self._pool.append(fresh)
            selector.register(fresh.socket, selectors.EVENT_READ, fresh)

    def _fail(self, vacancy: _Vacancy, why: str) -> None:
        """A worker has not started: it is tried again, unless none is left and that many tries have been in vain."""
        failures = vacancy.failures + 1
        if failures > len(PAUSES_S) and not any(worker.started for worker in self._pool):
            with self._lock:
                self._broken = why
            return
        due = time.monotonic() + PAUSES_S[min(failures, len(PAUSES_S)) - 1]
        self._vacant.append(_Vacancy(vacancy.core, failures, due))


def _resolve(task: Task, verdict: Verdict) -> None:
    if task.future.set_running_or_notify_cancel():
        task.future.set_result(verdict)
