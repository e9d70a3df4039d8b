"""The state of one moment in host memory, as the files that it becomes: training goes on while they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap

import torch

from stages.training.tensor_file import TensorFile


@dataclass(frozen=True)
class Snapshot:
    """The state of one moment; what can be left for later is done by `settle` and `contents`, in whatever thread.

    Attributes:
        files: names and contents, in the order in which they are written: tensors, or a document as JSON in one line.
        tensors: those that hold tensors, by the name of their part, in memory that the next snapshot uses again.
        copied: tells when the device has copied all of them; None where nothing is to be waited for.
    """

    files: tuple[tuple[str, TensorFile | str], ...]
    tensors: Mapping[str, TensorFile]
    copied: torch.cuda.Event | None

    def settle(self) -> None:
        """Wait until all is in host memory, and bring it into the order of the files; to be called once."""
        if self.copied is not None:
            self.copied.synchronize()
        for file in self.tensors.values():
            file.settle()

    def contents(self) -> Iterator[tuple[str, bytes | memoryview]]:
        """Yield names and bytes of the files, once they are settled; the same state gives the same bytes."""
        for name, file in self.files:
            yield name, file.data if isinstance(file, TensorFile) else _for_people(file)

    def not_finite(self) -> str:
        """Return the name of a tensor that holds NaN or infinity with its part before it, "" if there is none."""
        names = ((part, file.not_finite()) for part, file in self.tensors.items())
        return next(starmap("{}/{}".format, ((part, name) for part, name in names if name)), "")


class HostMemory:
    """The memory for snapshots of one state, made when it is first needed, and kept."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._files: dict[str, TensorFile] = {}

    def copy(self, part: str, tensors: Mapping[str, torch.Tensor]) -> TensorFile:
        """Copy the tensors of a part into the memory that was used for it before, where they fit into it."""
        file = self._file(part, tensors)
        file.copy(tensors)
        return file

    def make(self, tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Make the memory for such tensors of each part; of their contents nothing is read."""
        for part, found in tensors.items():
            self._file(part, found).touch()

    def mark(self) -> torch.cuda.Event | None:
        """Return what tells when the device has copied all that was asked of it."""
        if self.device.type != "cuda":
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _file(self, part: str, tensors: Mapping[str, torch.Tensor]) -> TensorFile:
        file = self._files.get(part)
        if file is None or not file.fits(tensors):
            self._files.pop(part, None)  # first: both together may be more than there is room for
            file = self._files[part] = TensorFile(tensors, is_pinned=self.device.type == "cuda")
        return file


def _for_people(document: str) -> bytes:
    # Indented, for which Python's encoder takes ten times as long as for one line: training need not wait for it.
    return (json.dumps(json.loads(document), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
