"""Processes that no signal to the group reaches, and that never outlive their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from multiprocessing.resource_tracker import ensure_running
from typing import Any

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def start_process(target: Callable[..., None], *args: Any, is_daemon: bool) -> SpawnProcess:
    """Start a process that runs `target`, which calls `die_with_parent` first; only one that is no daemon has children.

    Signals that stop a run go to its whole process group; this one is told by its parent instead.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=is_daemon)
    # A child inherits the mask: signals to the group never reach it, not even while it is starting. Python's resource
    # tracker comes first, because its own start, otherwise part of `process.start`, takes them out of the mask again.
    ensure_running()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    return process


def die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies: also a process that is stopped, or hangs in C code, must go then.

    What Linux calls the parent is the thread that started this process: it must live as long.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None or os.getppid() != parent.pid:
        os._exit(1)  # it died before it could be asked for


def end_process(process: SpawnProcess, *, patience: float) -> None:
    """Wait `patience` seconds for a process to leave; then it is killed, which a stopped one cannot escape either."""
    process.join(max(0.0, patience))
    if process.is_alive():
        process.kill()
        process.join()
