"""The state of training as a map of named parts: tensors go to safetensors, one file each, all else to JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch

from pipeline.errors import IntegrityError
from pipeline.memory import is_out_of_memory
from pipeline.schema import Schema
from stages.tensors import load_tensors
from stages.training.snapshot import HostMemory, Snapshot
from stages.training.tensor_file import TensorFile

SCHEMA = Schema("training state")
VALUES_NAME = "trainer_state.json"
_TENSORS_SUFFIX = ".safetensors"
_SEPARATOR = "/"  # between nested keys in a tensor's name; no parameter of a torch module has it in its name


class Stateful(Protocol):
    """A part of the state: nested mappings with text keys of JSON values and tensors."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step reads of it."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Continue from what `state_dict` returned."""


class TrainState:
    """Named parts, saved and loaded in the given order; put last what building the others may disturb (the RNG).

    Args:
        documents: parts without tensors that get a JSON file of their own, with their file names.
        later: parts that came later: where an older checkpoint lacks them, they stay as they begin.
    """

    def __init__(
        self,
        parts: Mapping[str, Stateful],
        *,
        documents: Mapping[str, str] | None = None,
        later: frozenset[str] = frozenset(),
    ) -> None:
        self._parts = dict(parts)
        self._documents = dict(documents or {})
        self._later = later

    def snapshot(self, memory: HostMemory) -> Snapshot:
        """Copy the state of this moment into `memory`, and return it as the files that hold it."""
        values: dict[str, Any] = {}
        files: list[tuple[str, TensorFile | str]] = []
        found: dict[str, TensorFile] = {}
        for name, part in self._parts.items():
            state = part.state_dict()
            if name in self._documents:
                files.append((self._documents[name], _encode(state)))
                continue
            tensors: dict[str, torch.Tensor] = {}
            values[name] = _split(state, tensors, prefix="")
            if tensors:
                found[name] = memory.copy(name, tensors)
                files.append((f"{name}{_TENSORS_SUFFIX}", found[name]))
        files.append((VALUES_NAME, _encode({"schema_version": SCHEMA.version, "parts": values})))
        return Snapshot(tuple(files), found, memory.mark())

    def memory_for(self, memory: HostMemory) -> Callable[[], None]:
        """Return what makes the memory for snapshots of a state like that of this moment; any thread may call it."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for name, part in self._parts.items():
            _split(part.state_dict(), found.setdefault(name, {}), prefix="")
        return partial(memory.make, {name: tensors for name, tensors in found.items() if tensors})

    def files(self) -> dict[str, bytes]:
        """Return the files that hold the state, by name."""
        snapshot = self.snapshot(HostMemory(torch.device("cpu")))
        snapshot.settle()
        return {name: bytes(data) for name, data in snapshot.contents()}

    def load(self, contents: Mapping[str, bytes], *, without: frozenset[str] = frozenset()) -> None:
        """Continue from the files of a verified checkpoint, leaving the parts named in `without` as they are.

        Raises:
            IntegrityError: the files do not hold the state of these parts.
        """
        try:
            values = SCHEMA.migrate(json.loads(contents[VALUES_NAME]), name=VALUES_NAME)
            left_out = without | (self._later - values["parts"].keys())
            for name, part in self._parts.items():
                if name not in left_out:
                    part.load_state_dict(self._part_state(name, values["parts"], contents))
        except (KeyError, ValueError, TypeError, RuntimeError) as error:  # RecursionError is one
            if is_out_of_memory(error):
                raise
            raise IntegrityError(
                f"the checkpoint does not fit this program's model and settings: {error}",
                code="E0467",
                hint="the code has changed since it was written; start from zero with `pipeline progress reset`",
            ) from error

    def _part_state(self, name: str, values: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
        if name in self._documents:
            return dict(json.loads(contents[self._documents[name]]))
        state = dict(values[name])
        file_name = f"{name}{_TENSORS_SUFFIX}"
        if file_name in contents:
            for key, tensor in load_tensors(contents[file_name], name=file_name).items():
                _put(state, key.split(_SEPARATOR), tensor)
        return state


def require_finite(contents: Mapping[str, bytes]) -> None:
    """Raise IntegrityError, naming the tensor, where the files of a checkpoint hold NaN or infinity."""
    for file_name, data in contents.items():
        name = _first_not_finite(load_tensors(data, name=file_name)) if file_name.endswith(_TENSORS_SUFFIX) else ""
        if name:
            raise IntegrityError(f"{name} in {file_name} holds numbers that are not finite", code="E0466")


def _first_not_finite(tensors: Mapping[str, torch.Tensor]) -> str:
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    return next((name for name, tensor in floating.items() if not bool(torch.isfinite(tensor).all())), "")


def _split(state: Mapping[str, Any], tensors: dict[str, torch.Tensor], *, prefix: str) -> dict[str, Any]:
    """Return `state` without its tensors, which go to `tensors` under their full names."""
    values: dict[str, Any] = {}
    for key, value in state.items():
        assert _SEPARATOR not in key, f"{key!r} cannot be told from nested keys"
        if isinstance(value, torch.Tensor):
            tensors[prefix + key] = value
        elif isinstance(value, Mapping):
            values[key] = _split(value, tensors, prefix=f"{prefix}{key}{_SEPARATOR}")
        else:
            values[key] = value
    return values


def _put(state: dict[str, Any], keys: list[str], tensor: torch.Tensor) -> None:
    for key in keys[:-1]:
        state = state.setdefault(key, {})
    state[keys[-1]] = tensor


# Text at once: a part may go on with the very lists that it has returned.
def _encode(document: Mapping[str, Any]) -> str:
    return json.dumps(document, allow_nan=False)
