"""What `pipeline doctor` finds of torch and of the device that the stages compute on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.config import RuntimeOptions
from pipeline.doctor.finding import Finding, State
from pipeline.environment import usable_cores
from pipeline.tables import size
from stages.torch_facts import TorchDied, TorchFacts, ask_torch

_DRIVER = Path("/proc/driver/nvidia/version")
_INSTALL = "install torch anew, in the version that constraints.txt names"
_DIED = (
    "no stage that computes will work: install torch anew, in a build for this processor and this driver; "
    "`python -X faulthandler -c 'import torch; torch.cuda.device_count()'` shows where it ends"
)


def examine(runtime: RuntimeOptions, *, ask: Callable[[], TorchFacts] = ask_torch) -> Iterator[Finding]:
    """Look at torch, its threads and its devices."""
    try:
        facts = ask()
    except TorchDied as died:
        yield Finding(name="torch", told=f"importing it {died}", state=State.PROBLEM, advice=_DIED)
        return
    if facts.missing:
        told = f"it cannot be imported: {facts.missing}"
        yield Finding(name="torch", told=told, state=State.PROBLEM, advice=_INSTALL)
        return
    yield examine_threads(facts.version, num_threads=facts.num_threads, num_cores=usable_cores())
    if facts.gpu_error:
        told = f"torch finds a GPU and cannot use it: {facts.gpu_error}"
        yield Finding(name="gpu", told=told, state=State.PROBLEM, advice="`nvidia-smi` tells more; restart the driver")
        return
    has_driver = _DRIVER.exists()
    yield examine_gpus(list(facts.gpus), device=runtime.device, built_for=facts.built_for, has_driver=has_driver)


def examine_threads(version: str, *, num_threads: int, num_cores: int) -> Finding:
    """Compare the threads with which torch computes with the cores that it may use."""
    told = f"{version}, {num_threads} threads for {num_cores} cores"
    figures = {"version": version, "num_threads": num_threads, "num_cores": num_cores}
    if num_threads > num_cores:
        advice = f"more threads than cores wait for each other: set OMP_NUM_THREADS={num_cores}"
    elif num_threads < num_cores:
        advice = f"OMP_NUM_THREADS={num_cores} trains faster; keep the number the same while a training is continued"
    else:
        return Finding(name="torch", told=told, figures=figures)
    return Finding(name="torch", told=told, state=State.ADVICE, advice=advice, figures=figures)


def examine_gpus(gpus: list[tuple[str, int]], *, device: str, built_for: str, has_driver: bool) -> Finding:
    """Tell which GPUs there are, by name and bytes of memory; where there are none, why that may be."""
    figures = {"gpus": [{"name": name, "memory_bytes": memory} for name, memory in gpus], "cuda": built_for}
    if gpus:
        told = ", ".join(f"{name} with {size(memory)}" for name, memory in gpus)
        advice = "" if device != "cpu" else "runtime.device is cpu: --device auto would use it"
        state = State.ADVICE if advice else State.OK
        return Finding(name="gpu", told=told, state=state, advice=advice, figures=figures)
    if not has_driver:
        why, remedy = "no driver of a GPU is loaded", "the professional profile needs one; quick and standard do not"
    elif not built_for:
        why, remedy = (
            "this torch was built for the CPU, though a driver is there",
            "install one that was built for CUDA",
        )
    elif os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        why, remedy = "CUDA_VISIBLE_DEVICES hides all of them", "unset it"
    else:
        why = f"there is a driver, but torch, built for CUDA {built_for}, finds no device"
        remedy = "`nvidia-smi` tells the CUDA version that the driver can do; in a container, pass the GPU on to it"
    is_wanted = device == "cuda"
    return Finding(
        name="gpu",
        told=f"none: {why}",
        state=State.PROBLEM if is_wanted else State.ADVICE,
        advice=f"runtime.device is cuda: {remedy}, or use --device auto" if is_wanted else remedy,
        figures=figures,
    )
