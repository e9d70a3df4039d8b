"""The state of training as a map of named parts: tensors go to safetensors, one file each, all else to JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import safetensors.torch
import torch

from pipeline.errors import IntegrityError
from pipeline.memory import is_out_of_memory
from pipeline.schema import Schema
from stages.tensors import load_tensors

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

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files that hold the state, one at a time: name and contents."""
        values: dict[str, Any] = {}
        for name, part in self._parts.items():
            state = part.state_dict()
            if name in self._documents:
                yield self._documents[name], _encode(state)
                continue
            tensors: dict[str, torch.Tensor] = {}
            values[name] = _split(state, tensors, prefix="")
            if tensors:
                yield f"{name}{_TENSORS_SUFFIX}", safetensors.torch.save(unshared(tensors))
        yield VALUES_NAME, _encode({"schema_version": SCHEMA.version, "parts": values})

    def not_finite(self) -> str:
        """Return the name of a tensor that holds NaN or infinity, "" if there is none; waits for the device once."""
        tensors: dict[str, torch.Tensor] = {}
        for name, part in self._parts.items():
            _split(part.state_dict(), tensors, prefix=f"{name}{_SEPARATOR}")
        return _first_not_finite(tensors)

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
            raise IntegrityError(f"{name} in {file_name} holds numbers that are not finite")


def _first_not_finite(tensors: Mapping[str, torch.Tensor]) -> str:
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floating:
        return ""
    # One number for each tensor, brought to the host together. The first device there is: counters may lie on the CPU.
    flags = [torch.isfinite(tensor).all() for tensor in floating.values()]
    device = next((flag.device for flag in flags if flag.device.type != "cpu"), flags[0].device)
    are_finite = torch.stack([flag.to(device) for flag in flags]).tolist()
    return next((name for name, is_finite in zip(floating, are_finite, strict=True) if not is_finite), "")


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


# Sorted keys: the same state gives the same bytes, whether it was computed or loaded.
def _encode(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
