"""Disks that fail at a chosen operation, for pipelines of your own too; trials.py runs command lines on them.

A fault takes place instead of the operation, so that "killed at 18" is also "killed after 17".
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pipeline.disk import Disk

T = TypeVar("T")
_NEEDS_SPACE = frozenset({"create", "write", "fsync", "mkdir"})


class Fault(StrEnum):
    """What befalls an operation; all but KILLED leave the process alive."""

    KILLED = "killed"
    EIO = "EIO"
    ENOSPC = "ENOSPC, once"
    FULL = "ENOSPC from then on"
    SHORT = "short write"
    LYING = "short write, told as whole"

    @property
    def is_of_writes(self) -> bool:
        """Whether it befalls only the operation `write`."""
        return self in (Fault.SHORT, Fault.LYING)


@dataclass(frozen=True)
class Point:
    """A fault and the number of the operation that it befalls, counted from 1."""

    fault: Fault
    at: int

    def __str__(self) -> str:
        return f"{self.fault} at operation {self.at}"


class CountingDisk(Disk):
    """Keeps the names of all operations, in order.

    Nothing is synced: another process on the same machine sees what was written all the same, and much sooner.
    """

    def __init__(self) -> None:
        self.operations: list[str] = []

    def perform(self, name: str, operation: Callable[..., T], *arguments: Any) -> T:
        """Carry out one operation; every method comes through here."""
        self.operations.append(name)
        return operation(*arguments)

    def create(self, path: Path) -> int:
        """Count and create."""
        return self.perform("create", super().create, path)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Count and write."""
        return self.perform("write", super().write, descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Count."""
        self.perform("fsync", os.fstat, descriptor)

    def close(self, descriptor: int) -> None:
        """Count and close."""
        self.perform("close", super().close, descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Count and rename."""
        self.perform("rename", super().rename, source, target)

    def unlink(self, path: Path) -> None:
        """Count and unlink."""
        self.perform("unlink", super().unlink, path)

    def mkdir(self, path: Path) -> None:
        """Count and create."""
        self.perform("mkdir", super().mkdir, path)

    def rmdir(self, path: Path) -> None:
        """Count and remove."""
        self.perform("rmdir", super().rmdir, path)

    def fsync_folder(self, path: Path) -> None:
        """Count."""
        self.perform("fsync_folder", os.stat, path)


class FaultyDisk(CountingDisk):
    """Suffers a fault at one operation."""

    def __init__(self, point: Point) -> None:
        super().__init__()
        self._point = point

    def perform(self, name: str, operation: Callable[..., Any], *arguments: Any) -> Any:
        """Carry out one operation, unless it is the one."""
        self.operations.append(name)
        number, fault = len(self.operations), self._point.fault
        if number == self._point.at:
            return _suffer(fault, name, operation, *arguments)
        if fault is Fault.FULL and number > self._point.at and name in _NEEDS_SPACE:
            raise _os_error(errno.ENOSPC, *arguments)
        return operation(*arguments)


def _suffer(fault: Fault, name: str, operation: Callable[..., Any], *arguments: Any) -> Any:
    if fault is Fault.KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.is_of_writes:
        descriptor, data = arguments
        written = operation(descriptor, data[: len(data) // 2])
        return len(data) if fault is Fault.LYING else written
    if name == "close":
        operation(*arguments)  # a descriptor is closed even when closing it fails
    if name == "fsync":
        os.ftruncate(arguments[0], 0)  # what could not be synced is lost, and a second fsync would not say so
    raise _os_error(errno.EIO if fault is Fault.EIO else errno.ENOSPC, *arguments)


def _os_error(number: int, *arguments: Any) -> OSError:
    names = [os.fspath(argument) for argument in arguments if isinstance(argument, Path)]
    return OSError(number, os.strerror(number), *names[:1])
