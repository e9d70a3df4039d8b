"""That this process was stopped and continued is noticed at once, in any thread."""

from __future__ import annotations

import os
import signal
import threading

from pipeline.pauses import Pauses


def test_it_is_noticed_once() -> None:
    """Other signals are none of its business, and afterwards all is as it was."""
    pauses = Pauses()
    assert not pauses.was_paused()
    pauses.begin()
    assert not pauses.was_paused()
    os.kill(os.getpid(), signal.SIGCONT)
    assert [pauses.was_paused() for _ in range(2)] == [True, False]
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not pauses.was_paused()
    signal.signal(signal.SIGUSR1, before)
    pauses.end()
    pauses.end()
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_notices_while_the_main_one_is_busy() -> None:
    """Python's handlers wait for the main thread; this does not."""
    pauses = Pauses()
    pauses.begin()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGCONT)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(pauses.was_paused()))
    thread.start()
    thread.join()
    pauses.end()
    assert found == [True]


def test_outside_of_the_main_thread_nothing_is_touched() -> None:
    """A console may be made by any thread."""

    def begin_and_end() -> None:
        pauses = Pauses()
        pauses.begin()
        pauses.end()

    thread = threading.Thread(target=begin_and_end)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
