"""Snapshots: the state of one moment as the bytes that are written, in memory that is used again."""

from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch
from torch import nn

from stages.tensors import FileLayout
from stages.training.optimizer import OptimizerState
from stages.training.snapshot import HostMemory
from stages.training.state import TrainState
from stages.training.tensor_file import TensorFile

_TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn),
    *(torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
)
_CPU = torch.device("cpu")


def _tensors() -> dict[str, torch.Tensor]:
    """Return tensors of all types that the format knows, in no order, some empty, a number, or laid out oddly."""
    generator = torch.Generator().manual_seed(0)
    found = {
        f"{name}.{index}": torch.randint(0, 2, (index, 3), generator=generator).to(dtype)
        for index, dtype in enumerate(_TYPES)
        for name in ("z", "a")
    }
    turned = torch.rand(4, 3, 5, 2, generator=generator).to(memory_format=torch.channels_last)
    odd = {"channels last": turned, "half of them": turned.bfloat16(), "bytes of them": (turned > 0.5)}
    return {**found, **odd, "number": torch.tensor(3.5), 'a "name" with \\ and é': torch.rand(7)[::2]}


def test_the_bytes_are_those_of_the_library() -> None:
    """A checkpoint has the same bytes as if the library had written it: for all types, shapes, names and layouts."""
    tensors = _tensors()
    file = TensorFile(tensors, is_pinned=False)
    for _ in range(2):
        file.copy(tensors)
        file.settle()
    expected = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    assert bytes(file.data) == expected
    assert FileLayout.of(tensors).size == len(expected)
    assert bytes(TensorFile({}, is_pinned=False).data) == safetensors.torch.save({})


def test_a_snapshot_does_not_move_with_the_state() -> None:
    """What is trained after the copy is not in the files, and the next snapshot takes the same memory again."""
    model, memory = nn.Linear(3, 2), HostMemory(_CPU)
    state = TrainState({"model": model})
    expected = state.files()
    first = state.snapshot(memory)
    first.settle()
    with torch.no_grad():
        model.weight.fill_(7.0)
    assert {name: bytes(data) for name, data in first.contents()} == expected
    second = state.snapshot(memory)
    second.settle()
    assert second.tensors["model"] is first.tensors["model"]
    assert {name: bytes(data) for name, data in second.contents()} == state.files() != expected


def test_memory_is_made_anew_where_the_tensors_are_others() -> None:
    """An optimizer has no moments before its first step, and loss terms may come and go."""
    memory = HostMemory(_CPU)
    for tensors in ({"a": torch.ones(2)}, {"a": torch.ones(3)}, {"b": torch.ones(3)}, {"b": torch.ones(3).half()}):
        assert bytes(memory.copy("part", tensors).data) == safetensors.torch.save(tensors)


def test_memory_made_ahead_is_the_memory_that_is_used() -> None:
    """Its pages are there before the first save, and the header is whole."""
    model, memory = nn.Linear(3000, 2), HostMemory(_CPU)
    state = TrainState({"model": model})
    state.memory_for(memory)()
    made = memory.copy("model", model.state_dict())
    snapshot = state.snapshot(memory)
    assert snapshot.tensors["model"] is made
    assert {name: bytes(data) for name, data in snapshot.contents()} == state.files()


def test_large_files_begin_at_a_page() -> None:
    """So that they can be written past the page cache."""
    array = TensorFile({"a": torch.ones(5000)}, is_pinned=False).data
    assert torch.frombuffer(array, dtype=torch.uint8).data_ptr() % 4096 == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["model", "average", "optimizer"])
def test_state_that_is_not_finite_is_named(bad: float, part: str) -> None:
    """A finite gradient can still be too large a step: weights, buffers, average and moments are looked at."""
    first = nn.Linear(2, 2)
    model = nn.Sequential(first, nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 2)).sum().backward()
    optimizer.step()
    average = copy.deepcopy(model)
    state = TrainState({"model": model, "average": average, "optimizer": OptimizerState(optimizer)})
    memory = HostMemory(_CPU)
    assert not state.snapshot(memory).not_finite()
    hurt = {
        "model": (model.state_dict()["1.running_var"], "model/1.running_var"),
        "average": (average.state_dict()["0.weight"], "average/0.weight"),
        "optimizer": (optimizer.state[first.weight]["exp_avg_sq"], "optimizer/state/0/exp_avg_sq"),
    }
    tensor, name = hurt[part]
    with torch.no_grad():
        tensor.view(-1)[1] = bad
    assert state.snapshot(memory).not_finite() == name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_not_finite_is_found_in_any_type(dtype: torch.dtype, bad: float) -> None:
    """Wherever it stands, behind the largest numbers of the type and the smallest."""
    limits = torch.finfo(dtype)
    tensor = torch.tensor([limits.max, limits.min, limits.tiny, 0.0], dtype=dtype).repeat(1 << 17)
    file = TensorFile({"a": tensor, "count": torch.tensor(1)}, is_pinned=False)
    file.copy({"a": tensor, "count": torch.tensor(1)})
    assert not file.not_finite()
    for place in (0, len(tensor) // 2 + 1, len(tensor) - 1):
        hurt = tensor.clone()
        hurt[place] = bad
        file.copy({"a": hurt, "count": torch.tensor(1)})
        assert file.not_finite() == "a"
