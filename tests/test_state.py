"""The state of training: every part comes back from its files, and nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import IntegrityError
from stages.tensors import unshared
from stages.training.state import TrainState, require_finite


class _Part:
    """Any nested state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        return self.state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace it."""
        self.state = dict(state)


def test_nested_parts_come_back_exactly() -> None:
    """Tensors of any type and shape, numbers to the last bit, nested and empty: all as it was."""
    state = {
        "numbers": {"third": 1 / 3, "large": 2**60, "none": None, "list": [1, [2.5]]},
        "a.b": torch.tensor(3.0),
        "inner": {"deep": {"bytes": torch.arange(4, dtype=torch.uint8), "half": torch.ones(2, 3).bfloat16()}},
        "empty": {},
    }
    files = dict(TrainState({"one": _Part(state), "two": _Part({"plain": 1})}).files())
    assert sorted(files) == ["one.safetensors", "trainer_state.json"]
    one, two = _Part({}), _Part({})
    TrainState({"one": one, "two": two}).load(files)
    assert two.state == {"plain": 1}
    assert one.state["numbers"] == state["numbers"]
    assert one.state["empty"] == {}
    assert torch.equal(one.state["a.b"], torch.tensor(3.0))
    half = one.state["inner"]["deep"]["half"]
    assert (half.dtype, half.shape) == (torch.bfloat16, (2, 3))


def test_same_state_gives_the_same_bytes() -> None:
    """After any number of round trips the files are the same, so that two runs can be compared by bytes."""
    part = _Part({name: torch.full((3,), float(index)) for index, name in enumerate("zyxwvutsrq")} | {"b": 1, "a": 2})
    first = dict(TrainState({"part": part}).files())
    for _ in range(5):
        TrainState({"part": part}).load(first)
        assert dict(TrainState({"part": part}).files()) == first


def test_documents_have_a_file_of_their_own() -> None:
    """A part can be kept as a JSON file that others read."""
    state = TrainState({"progress": _Part({"step": 3})}, documents={"progress": "training_progress.json"})
    files = dict(state.files())
    assert json.loads(files["training_progress.json"]) == {"step": 3}
    part = _Part({})
    TrainState({"progress": part}, documents={"progress": "training_progress.json"}).load(files)
    assert part.state == {"step": 3}


def test_parts_can_be_left_as_they_are() -> None:
    """`without` starts a part fresh, whatever the files say."""
    files = dict(TrainState({"kept": _Part({"a": 1}), "left": _Part({"a": 1})}).files())
    kept, left = _Part({}), _Part({"a": 0})
    TrainState({"kept": kept, "left": left}).load(files, without=frozenset({"left"}))
    assert (kept.state, left.state) == ({"a": 1}, {"a": 0})


def test_parts_that_came_later_begin_where_a_checkpoint_lacks_them() -> None:
    """An older checkpoint loads without a part that there was not yet; one that is there is loaded."""
    old = dict(TrainState({"kept": _Part({"a": 1})}).files())
    kept, new = _Part({}), _Part({"a": 0})
    state = TrainState({"kept": kept, "new": new}, later=frozenset({"new"}))
    state.load(old)
    assert (kept.state, new.state) == ({"a": 1}, {"a": 0})
    state.load(dict(TrainState({"kept": _Part({"a": 1}), "new": _Part({"a": 2})}).files()))
    assert new.state == {"a": 2}


def test_parts_are_loaded_in_order() -> None:
    """The last part is loaded last: the random generators rely on it."""
    order: list[str] = []

    class Recording(_Part):
        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            order.append(str(state["name"]))

    state = TrainState({name: Recording({"name": name}) for name in ("b", "c", "a")})
    state.load(dict(state.files()))
    assert order == ["b", "c", "a"]


@pytest.mark.parametrize("change", ["other model", "missing part", "other version", "no file"])
def test_state_that_does_not_fit_is_refused(change: str) -> None:
    """Files of another model, program or version are an integrity error, never half a state."""
    files = dict(TrainState({"model": nn.Linear(2, 2)}).files())
    parts: dict[str, Any] = {"model": nn.Linear(3, 2) if change == "other model" else nn.Linear(2, 2)}
    if change == "missing part":
        parts["more"] = _Part({})
    if change == "other version":
        files["trainer_state.json"] = files["trainer_state.json"].replace(b'_version": 1', b'_version": 2')
    if change == "no file":
        del files["model.safetensors"]
    with pytest.raises(IntegrityError, match=r"does not fit|of format 2; this program"):
        TrainState(parts).load(files)


def test_tied_weights_are_saved_and_stay_tied() -> None:
    """Two names for one tensor are written twice and read back into one."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert len({tensor.data_ptr() for tensor in unshared(model.state_dict()).values()}) == 4
    files = dict(TrainState({"model": model}).files())
    expected = first.weight.detach().clone()
    with torch.no_grad():
        first.weight.zero_()
    TrainState({"model": model}).load(files)
    assert torch.equal(second.weight, expected)
    assert second.weight is first.weight


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_files_with_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    """A checkpoint that verifies may still hold NaN: the tensor and its file are named; integers are never at fault."""
    half = torch.ones(3).half()
    state = {"inner": {"weight": torch.ones(3), "half": half}, "count": torch.tensor(3)}
    require_finite(dict(TrainState({"part": _Part(state)}).files()))
    half[1] = bad
    with pytest.raises(IntegrityError, match=r"inner/half in part\.safetensors holds numbers that are not finite"):
        require_finite(dict(TrainState({"part": _Part(state)}).files()))
    with pytest.raises(IntegrityError, match=r"part\.safetensors holds no tensors"):
        require_finite({"part.safetensors": b"zeros"})
