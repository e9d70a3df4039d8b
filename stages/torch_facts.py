"""What torch tells of itself and of its devices, asked in a process of its own: importing it may kill that, or hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from signal import Signals
from typing import Any

_PATIENCE_SECONDS = 180.0  # a cold import from a network disk has taken more than one minute
_LEAVING_SECONDS = 1.0  # for a process that was killed; one that waits for a driver cannot leave
_MARK = "facts of torch: "  # before the answer: what torch loads may print, too


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """What could be found out.

    Attributes:
        missing: why torch cannot be imported; empty where it can.
        gpus: name and bytes of memory of each.
        gpu_error: why the GPUs cannot be asked; empty where they can.
        built_for: the version of CUDA; empty where it was built for the CPU.
    """

    missing: str = ""
    version: str = ""
    num_threads: int = 0
    gpus: tuple[tuple[str, int], ...] = ()
    gpu_error: str = ""
    built_for: str = ""


class TorchDied(Exception):
    """The process ended, or was ended, before it had told anything; the text says how."""


def ask_torch(*, patience: float = _PATIENCE_SECONDS) -> TorchFacts:
    """Ask in a new process, for at most `patience` seconds; raises TorchDied."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "stages.torch_facts"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        said, complaint = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        raise TorchDied(f"has not come back within {patience:g} s") from None
    finally:
        _end(process)
    answers = [line.removeprefix(_MARK) for line in said.splitlines() if line.startswith(_MARK)]
    if process.returncode or not answers:
        raise TorchDied(f"{_how(process.returncode)}{_last_line(complaint)}")
    return _of_document(json.loads(answers[-1]))


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no process behind, and wait for none that cannot be ended."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LEAVING_SECONDS)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended the process with exit code {exit_code}"
    return f"killed the process ({Signals(-exit_code).name})"


def _last_line(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""


def _of_document(document: Mapping[str, Any]) -> TorchFacts:
    return TorchFacts(**{**document, "gpus": tuple((str(name), int(memory)) for name, memory in document["gpus"])})


def _found() -> TorchFacts:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library that it is linked with is missing, say
        return TorchFacts(missing=str(error))
    version, num_threads = str(torch.__version__), torch.get_num_threads()
    try:
        gpus = tuple(
            (torch.cuda.get_device_name(number), torch.cuda.get_device_properties(number).total_memory)
            for number in range(torch.cuda.device_count())
        )
    except RuntimeError as error:  # the driver does not answer
        return TorchFacts(version=version, num_threads=num_threads, gpu_error=str(error))
    return TorchFacts(version=version, num_threads=num_threads, gpus=gpus, built_for=torch.version.cuda or "")


if __name__ == "__main__":
    sys.stdout.write(f"{_MARK}{json.dumps(asdict(_found()))}\n")
