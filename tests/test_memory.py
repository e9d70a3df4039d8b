"""Running out of memory is known in all its spellings, and nothing else is taken for it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from test_evaluation_stage import evaluate

from pipeline.errors import ResourceExhausted
from pipeline.memory import is_out_of_memory, said, telling_of_memory


def _from_torch() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        _from_torch(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_is_known(error: Exception) -> None:
    """Host and device, Python, NumPy and torch: each way in which they say it, the real one of torch among them."""
    assert is_out_of_memory(error)
    with pytest.raises(ResourceExhausted) as caught, telling_of_memory(hint="buy some"):
        raise error
    assert caught.value.message == f"out of memory: {said(error)}"
    assert "\n" not in caught.value.message
    assert caught.value.hint == "buy some"


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(errno.EIO, "I/O"), ValueError("no memory")])
def test_other_errors_pass(error: Exception) -> None:
    """What is no lack of memory stays what it is."""
    with pytest.raises(type(error)) as caught, telling_of_memory(hint=""):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("place", ["stages.evaluation.detector.Detector.detect", "torch.nn.Module.load_state_dict"])
def test_evaluation_that_runs_out_says_which_setting_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Exit code 6 there, too, with the batch size that belongs to it."""

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")

    monkeypatch.setattr(place, fail)
    with pytest.raises(
        ResourceExhausted, match=r"^out of memory: CUDA out of memory. Tried to allocate 20 GiB$"
    ) as caught:
        evaluate(tmp_path)
    assert "evaluation.batch_size" in caught.value.hint
