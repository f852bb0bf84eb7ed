"""Being asked to stop: SIGTERM (a preemption, a scheduler's time limit), Ctrl-C, or SIGHUP (the terminal is gone).

It is answered where the run can be saved.

    with Stop() as stop:
        for batch in batches:
            if stop.asked():
                save()
                raise Stopped(stop.signal)
            train(batch)

Exit status of a run that stopped so: 143 after SIGTERM, 130 after Ctrl-C, 129 after SIGHUP, as a shell says it of a
process that these signals end. The same command goes on.
"""

import os
import signal
from types import FrameType
from typing import Any, Self

from acecoder_jax import parallel

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """The run was asked to stop, and has stopped. signal: by which; 0 where another process was the one asked."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name if number else 'a signal to another process'}")
        self.exit_code = 128 + (number or signal.SIGTERM)


_entered: list["Stop"] = []


def asked_here() -> bool:
    """Whether this process has been asked to stop and is to answer; from any thread."""
    return any(stop.signal for stop in list(_entered))


def heard() -> None:
    """Notes that another process of the run has been asked; from any thread (distributed.py carries the word)."""
    for stop in list(_entered):
        stop.elsewhere = True


class Stop:
    """Notes the signals while it is entered, from the main thread; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signal = 0
        self.elsewhere = False  # whether another process of the run has been asked
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether any process of the run has been asked. All of them call it at the same places of the run."""
        return parallel.host_sum({"asked": float(self.signal != 0 or self.elsewhere)})["asked"] > 0

    def check(self) -> None:
        """Raises Stopped where this process has been asked, or has heard that another one was; from any thread,
        wherever what is going on may be lost."""
        if self.signal or self.elsewhere:
            raise Stopped(self.signal)

    def check_together(self) -> None:
        """Raises Stopped in all processes where any has been asked; as `asked`, it is called by all of them, so that
        none is missing from what they do together next."""
        if self.asked():
            raise Stopped(self.signal)

    def __enter__(self) -> Self:
        _entered.append(self)
        answered = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
        self._before = {number: signal.signal(number, self._note) for number in answered}
        return self

    def __exit__(self, *exc: object) -> None:
        _entered.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal = number
            # not print: the signal may have come in the middle of one
            os.write(1, f"{signal.Signals(number).name}: stopping as soon as what is done can be saved\n".encode())
