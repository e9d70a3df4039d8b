"""Signals that ask for a stop, sent to real processes."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import Interrupted
from pipeline.interrupts import StopFlag

_WORKER = """
import sys
from pipeline.interrupts import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop.is_set:
        pass
    print("stopping", flush=True)
    if "linger" in sys.argv:
        while True:
            pass
    print(stop.signal_number, flush=True)
"""


@contextmanager
def _start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", _WORKER, *arguments], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            yield worker
        finally:
            worker.kill()  # does nothing to a worker that has ended, as it should


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_sets_the_flag(number: signal.Signals) -> None:
    """The first signal does not end the process: it finishes what it does."""
    with _start() as worker:
        worker.send_signal(number)
        output, _ = worker.communicate()
    assert output.split() == ["stopping", str(int(number))]
    assert worker.returncode == 0


def test_second_interrupt_leaves_at_once() -> None:
    """A second Ctrl+C ends the process with code 130, whatever it does."""
    with _start("linger") as worker:
        worker.send_signal(signal.SIGINT)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "stopping\n"
        worker.send_signal(signal.SIGINT)
        assert worker.wait(timeout=60) == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_check_raises_with_the_exit_code(number: signal.Signals, code: int) -> None:
    """A stage that looks at the flag leaves through Interrupted, which knows its exit code and where it was."""
    stop = StopFlag()
    stop.check()
    stop.set(number)
    stop.set(signal.SIGTERM)
    with pytest.raises(Interrupted, match="at step 3") as caught:
        stop.check(where="step 3")
    assert caught.value.exit_code == code


def test_second_interrupt_while_the_process_ends_shows_no_traceback() -> None:
    """Whoever presses Ctrl+C twice gets the code of the first, also when all that is left is to say good-bye."""
    script = """
import signal
from pipeline.interrupts import stop_on_signals
with stop_on_signals() as stop:
    signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_closed_terminal_stops_nothing() -> None:
    """SIGHUP is ignored, also by the programs that are started meanwhile; afterwards it is what it was before."""
    script = """
import signal, subprocess, sys
from pipeline.interrupts import stop_on_signals
ask = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, flush=True)"
with stop_on_signals() as stop:
    signal.raise_signal(signal.SIGHUP)
    print(stop.is_set, flush=True)
    subprocess.run([sys.executable, "-c", ask], check=True)
signal.raise_signal(signal.SIGHUP)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True"]
    assert done.returncode == -signal.SIGHUP


def test_only_sigterm_has_a_deadline() -> None:
    """What follows it is SIGKILL, after the grace that began with the first one, whatever came before."""
    now = 100.0
    stop = StopFlag(clock=lambda: now)
    assert stop.seconds_left(30) == math.inf
    stop.set(signal.SIGINT)
    assert stop.seconds_left(30) == math.inf
    stop.set(signal.SIGTERM)
    now = 110.0
    stop.set(signal.SIGTERM)
    assert stop.seconds_left(30) == 20
    assert stop.signal_number == signal.SIGINT
