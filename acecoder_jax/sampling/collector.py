"""The rollouts of a run: drawn, judged while the trainer goes on, written to a folder, and taken from there again.

    with Collector(folder, engine, sandbox, config=digest, samples=8, sampling=sampling) as collector:
        rollout = collector.collect(3, problems, lambda: params)    # returns once the completions are there
        coming = collector.ahead(4, problems_of_4, lambda: params)  # in the background, with the weights of now
        scored = rollout.scored()                                   # waits for the verdicts; then it is on the disk

A rollout is written once its verdicts are there (a wall-clock time-out does not repeat itself), whole or not at all.
"""

import concurrent.futures
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from acecoder_jax import hosts, store
from acecoder_jax.models.decoder import Params
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.engine import Engine
from acecoder_jax.sampling.rollout import Drawn, Scored
from acecoder_jax.sandbox import Sandbox
from acecoder_jax.stops import Stopped
from acecoder_jax.types import Completion, Problem


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Completions in order; about: what is written beside them, such as decode_s, the seconds they took."""

    completions: list[Completion]
    about: dict[str, Any]
    verdicts: Future[list[Scored]]

    def scored(self) -> list[Scored]:
        """Waits for the verdicts and for the file. Stopped where the run was asked to stop meanwhile."""
        return self.verdicts.result()


class Collector:
    """config: a digest of all that decides what is drawn; a file of another one is drawn anew.

    check: called again and again while there is something to wait for; what it raises ends that rollout. judging: the
    time from the last completion of a rollout to its last verdict is spent within it, in the background.
    The weights of a rollout are the caller's to choose; staleness, how many rollouts they lag behind, is noted.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        sandbox: Sandbox,
        *,
        config: str,
        samples: int,
        sampling: SamplingParams,
        style: str = "chat",
        check: Callable[[], None] = lambda: None,
        judging: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ):
        self._folder, self._engine, self._sandbox, self._config = folder, engine, sandbox, config
        self._how: dict[str, Any] = {"samples": samples, "sampling": sampling, "style": style, "purpose": "rollout"}
        self._check_run, self._judging = check, judging
        self._closing = threading.Event()
        self._threads = concurrent.futures.ThreadPoolExecutor(2, "collector")
        if hosts.is_first():
            store.remove_half_written(folder)

    def path(self, number: int) -> Path:
        """Where a rollout is written."""
        return rollouts.path_of(self._folder, number)

    def has(self, number: int) -> bool:
        """Whether a rollout of this config is on the disk; all processes of a run ask together."""
        return hosts.from_first("rollout is there", lambda: rollouts.drawn_under(self.path(number), self._config))

    def collect(
        self, number: int, problems: Sequence[Problem], params: Callable[[], Params], staleness: int = 0
    ) -> Rollout:
        """A rollout as an earlier start left it, or drawn now; what was drawn under another config is drawn anew.

        params: gives the weights where they are needed, so that nothing here holds what the engine has copied.
        """
        if self.has(number):
            return self._load(number)
        self._forget(number)
        self._engine.update(params())
        return self._draw(number, problems, staleness)

    def ahead(
        self, number: int, problems: Sequence[Problem], params: Callable[[], Params], staleness: int
    ) -> Future[Rollout]:
        """The same in the background; the engine takes the weights before this returns."""
        if not self.has(number):
            self._forget(number)
            self._engine.update(params())
            return self._threads.submit(self._draw, number, problems, staleness)
        return self._threads.submit(self._load, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._threads.shutdown(cancel_futures=True)

    def _check(self) -> None:
        self._check_run()
        if self._closing.is_set():
            raise Stopped(0)

    def _load(self, number: int) -> Rollout:
        about, scored = rollouts.load(self.path(number))
        verdicts: Future[list[Scored]] = Future()
        verdicts.set_result(scored)
        return Rollout([one.completion for one in scored], about, verdicts)

    def _draw(self, number: int, problems: Sequence[Problem], staleness: int) -> Rollout:
        start = time.perf_counter()
        drawn = rollouts.draw(self._engine, self._sandbox, problems, rollout=number, check=self._check, **self._how)
        about = {"config": self._config, "decode_s": time.perf_counter() - start, "staleness": staleness}
        return Rollout(drawn.completions, about, self._threads.submit(self._judge, number, drawn, about))

    def _judge(self, number: int, drawn: Drawn, about: dict[str, Any]) -> list[Scored]:
        with self._judging():
            scored = drawn.scored(self._check)
        if hosts.is_first():
            rollouts.save(self.path(number), scored, about)
        return scored

    def _forget(self, number: int) -> None:
        """Deletes a rollout of another config and all after it: what follows from the one to be drawn is another run.

        Before the drawing: no one may take the old file for the new rollout, and the next may be written first.
        """
        for old in self._folder.glob("*.jsonl") if hosts.is_first() else ():
            if old >= self.path(number):
                old.unlink()
