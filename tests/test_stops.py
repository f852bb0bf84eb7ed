"""Signals are noted, not obeyed at once; the second Ctrl-C is."""

import os
import signal
from collections.abc import Iterator

import pytest

from acecoder_jax import stops
from acecoder_jax.stops import Stop, Stopped


@pytest.fixture
def not_under_nohup() -> Iterator[None]:
    """SIGHUP as it is where nothing ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_is_noted(number: int, code: int, capfd: pytest.CaptureFixture[str], not_under_nohup: None) -> None:
    with Stop() as stop:
        assert not stop.asked()
        stop.check()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # one more changes nothing
        assert stop.asked() and stop.signal == number
        with pytest.raises(Stopped, match=signal.Signals(number).name) as stopped:
            stop.check()
    assert stopped.value.exit_code == code
    assert capfd.readouterr().out == f"{signal.Signals(number).name}: stopping as soon as what is done can be saved\n"


def test_word_from_another_process() -> None:
    with Stop() as stop:
        assert not stops.asked_here()
        stops.heard()
        assert stop.asked() and not stops.asked_here()  # it is not told on
        with pytest.raises(Stopped, match="a signal to another process") as stopped:
            stop.check()
    assert stopped.value.exit_code == 143
    with Stop() as later:
        stops.heard()
        later.signal = signal.SIGTERM
        assert stops.asked_here()
    assert not stops.asked_here()


def test_a_second_ctrl_c_ends_at_once() -> None:
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked()


def test_under_nohup_a_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Stop():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
