"""How the peers save the same state: torch.save made safe by hand, torch.distributed.checkpoint, Lightning's writer.

Runs in the environment of Lightning, which has the same torch; see benchmarks/checkpoint.py.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed
from big_model import build, measure, serve, take_a_step, training_step
from lightning.fabric.utilities.cloud_io import _atomic_save
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions


def fsync(path: Path) -> None:
    """Make a file, or the entries of a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


class Peers:
    """The state that is saved, and each way to save it into `folder`."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._folder = folder
        self._model = build()
        self._optimizer = torch.optim.AdamW(self._model.parameters())
        take_a_step(self._model, self._optimizer)
        self._step = training_step()
        self._buffers = [torch.empty_like(tensor) for tensor in self._tensors()]
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=False, use_shared_memory=True, use_async_staging=False, use_non_blocking_copy=False
            )
        )
        store = torch.distributed.FileStore(str(folder / "store"), 1)
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)

    @property
    def methods(self) -> dict[str, Callable[[], tuple[float, float, float]]]:
        """All of them, by name; each returns seconds: blocked, lost in all, until durable."""
        ways = {
            "one plain copy into reused buffers": self._copy,
            "one plain buffered write + fsync": self._write,
            "torch.save to a temporary + fsync + replace + fsync of the folder": self._torch_save,
            "dcp.save": self._dcp_save,
            "dcp.async_save, default stager (cached shared memory)": self._dcp_async_save,
            "Lightning's writer, an fsync added": self._lightning,
        }
        return {name: lambda way=way: self._measure(way) for name, way in ways.items()}

    def _measure(self, way: Callable[[Path], Callable[[], None]]) -> tuple[float, float, float]:
        path, finished, started = self._folder / "checkpoint", threading.Event(), time.perf_counter()
        ended: list[float] = []
        threads: list[threading.Thread] = []

        def save() -> None:
            wait = way(path)

            def watch() -> None:
                wait()
                ended.append(time.perf_counter())
                finished.set()

            if wait is _nothing:
                watch()
            else:
                threads.append(threading.Thread(target=watch))
                threads[0].start()

        blocked, lost = measure(self._step, save=save, is_over=finished.is_set)
        for thread in threads:
            thread.join()
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return blocked, lost, ended[0] - started

    def _state(self) -> dict[str, object]:
        return {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def _tensors(self) -> list[torch.Tensor]:
        moments = self._optimizer.state_dict()["state"].values()
        return [*self._model.state_dict().values(), *(tensor for values in moments for tensor in values.values())]

    def _copy(self, _: Path) -> Callable[[], None]:
        torch._foreach_copy_(self._buffers, self._tensors())
        return _nothing

    def _write(self, path: Path) -> Callable[[], None]:
        with path.open("wb", buffering=0) as file:
            for buffer in self._buffers:
                file.write(_flat(buffer))
            os.fsync(file.fileno())
        return _nothing

    def _torch_save(self, path: Path) -> Callable[[], None]:
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(self._state(), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync(path.parent)
        return _nothing

    def _dcp_save(self, path: Path) -> Callable[[], None]:
        dcp.save(self._state(), checkpoint_id=str(path))
        return _nothing

    def _dcp_async_save(self, path: Path) -> Callable[[], None]:
        answer = dcp.async_save(self._state(), checkpoint_id=str(path), async_stager=self._stager)
        future = getattr(answer, "upload_completion", answer)
        return lambda: future.result() and None

    def _lightning(self, path: Path) -> Callable[[], None]:
        _atomic_save(self._state(), path)
        fsync(path)
        fsync(path.parent)
        return _nothing


def _flat(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.as_strided((tensor.numel(),), (1,)).numpy())


def _nothing() -> None:
    """Nothing is left to wait for."""


if __name__ == "__main__":
    serve(Peers(Path(sys.argv[1])).methods)
    sys.stdout.flush()
    os._exit(0)  # the stager's threads would keep the process
