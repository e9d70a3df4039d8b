"""Files of tensors: how they are laid out, and reading those that may come from anywhere.

Nothing in a file is run, and nothing in it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from safetensors import SafetensorError

from pipeline.errors import IntegrityError
from pipeline.memory import is_out_of_memory

MAX_HEADER_BYTES = 16 << 20  # about 100,000 tensors; the library itself would parse 100 MB
_ALIGNMENT = 8  # of the header, and so of the tensors
# The types by the names of the format, in the order in which the library puts their tensors: the widest first.
_TYPES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64", torch.float32: "F32",
    torch.uint32: "U32", torch.int32: "I32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint16: "U16",
    torch.int16: "I16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_PLACES = {dtype: place for place, dtype in enumerate(_TYPES)}


@dataclass(frozen=True)
class FileLayout:
    """Where the bytes of each tensor lie in a safetensors file: the one that the library itself would write.

    Attributes:
        header: all that stands before the tensors.
        places: first byte and end of each tensor in the file, by name, in the order of the file.
    """

    header: bytes
    places: Mapping[str, tuple[int, int]]

    @property
    def size(self) -> int:
        """The bytes of the whole file."""
        return max((end for _, end in self.places.values()), default=len(self.header))

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> FileLayout:
        """Return the layout of a file of `tensors`, of whose contents nothing is read.

        The format: https://huggingface.co/docs/safetensors, which leaves the order of the tensors open.
        """
        entries, ends, end = {}, {}, 0
        for name in sorted(tensors, key=lambda name: (_PLACES[tensors[name].dtype], name)):
            tensor = tensors[name]
            start, end = end, end + tensor.nbytes
            entries[name] = {
                "dtype": _TYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [start, end],
            }
            ends[name] = (start, end)
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        header = len(text).to_bytes(8, "little") + text
        return cls(header, {name: (len(header) + start, len(header) + end) for name, (start, end) in ends.items()})


def load_tensors(data: bytes, *, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file with the contents `data`; raises IntegrityError, naming `name`."""
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, max(0, len(data) - 8)):
        raise IntegrityError(f"{name} holds no tensors: its header would have {length} bytes", code="E0461")
    try:
        return dict(safetensors.torch.load(data))
    except (SafetensorError, RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
        if is_out_of_memory(error):
            raise
        raise IntegrityError(f"{name} holds no tensors: {error}", code="E0461") from error


def unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous CPU tensors of which no two share memory (as tied weights do): safetensors knows no sharing."""
    used: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        address = own.untyped_storage().data_ptr()
        result[name] = own.clone() if address in used else own
        used.add(address)
    return result
