"""Work in the background: one piece at a time, its errors in the caller's thread, and never left behind."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

import pytest

from stages.training.background import Background


def _fail() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("is_inline", [False, True])
def test_work_is_done_where_it_was_said(is_inline: bool) -> None:
    """In a thread of its own, or by the caller, at once."""
    names: list[str] = []
    with closing(Background(is_inline=is_inline)) as background:
        background.begin(lambda: names.append(threading.current_thread().name))
        assert names == ["MainThread"] or not is_inline
        background.wait()
    assert (names == ["MainThread"]) == is_inline


def test_the_caller_goes_on_while_it_works() -> None:
    """It is busy until the work has ended; the next work waits for that."""
    go, order = threading.Event(), list[str]()
    with closing(Background(is_inline=False)) as background:
        background.begin(lambda: order.append(str(go.wait(30))))
        assert background.is_busy
        assert order == []
        go.set()
        background.begin(lambda: order.append("second"))
        assert order[0] == "True"
    assert order == ["True", "second"]
    assert not background.is_busy


@pytest.mark.parametrize("how", ["wait", "begin", "leave"])
def test_errors_come_up_once_in_the_caller(how: str) -> None:
    """At the next wait, work, or at the end of the block, whichever comes first."""
    done = threading.Event()

    def fail() -> None:
        try:
            _fail()
        finally:
            done.set()

    with pytest.raises(OSError, match="No space left"), closing(Background(is_inline=False)) as background:
        background.begin(fail)
        while background.is_busy:
            done.wait(30)
        if how == "begin":
            background.begin(pytest.fail)
        elif how != "leave":
            getattr(background, how)()
    background.wait()


def test_an_error_of_the_work_comes_before_a_later_one_of_the_caller() -> None:
    """As it would have without a thread; the later one is its context."""
    with pytest.raises(OSError, match="No space left") as caught, closing(Background(is_inline=False)) as background:
        background.begin(_fail)
        raise ValueError("later")
    assert isinstance(caught.value.__context__, ValueError)


def test_the_block_is_left_when_the_work_has_ended() -> None:
    """Also when the caller fails: a write in flight is not cut off, and no thread is left."""
    go, done = threading.Event(), threading.Event()
    before = threading.active_count()

    def work() -> None:
        go.wait(30)
        done.set()

    with pytest.raises(KeyError), closing(Background(is_inline=False)) as background:
        background.begin(work)
        go.set()
        raise KeyError
    assert done.is_set()
    assert threading.active_count() == before


class _Large:
    """Stands for the session whose state is saved."""


def _fail_with(_: _Large) -> None:
    _fail()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Leave cycles as they are."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_what_failed_is_not_kept() -> None:
    """Work that raised holds nothing once its error is dealt with: training goes back with room for a new session."""
    large = _Large()
    kept = weakref.ref(large)
    with closing(Background(is_inline=False)) as background:
        background.begin(partial(_fail_with, large))
        del large
        with suppress(OSError):
            background.wait()
    assert kept() is None
