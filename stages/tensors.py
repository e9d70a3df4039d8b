"""Reading files of tensors that may come from anywhere: nothing in them is run, and nothing in them is believed."""

from __future__ import annotations

import safetensors.torch
import torch
from safetensors import SafetensorError

from pipeline.errors import IntegrityError
from pipeline.memory import is_out_of_memory

MAX_HEADER_BYTES = 16 << 20  # about 100,000 tensors; the library itself would parse 100 MB


def load_tensors(data: bytes, *, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file with the contents `data`; raises IntegrityError, naming `name`."""
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, max(0, len(data) - 8)):
        raise IntegrityError(f"{name} holds no tensors: its header would have {length} bytes")
    try:
        return dict(safetensors.torch.load(data))
    except (SafetensorError, RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
        if is_out_of_memory(error):
            raise
        raise IntegrityError(f"{name} holds no tensors: {error}") from error
