"""The proof of exact resume for readers: restored wherever it was, it reads on as if it had never been interrupted.

Any reader with three verbs can be proved: `reset(state)`, `next()` and `get_state()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

State = TypeVar("State")


class Reader(Protocol[State]):
    """What can be proved."""

    def reset(self, position: State, /) -> None: ...  # noqa: D102
    def get_state(self) -> State: ...  # noqa: D102
    def __next__(self) -> Any: ...


def assert_resumes_everywhere(
    make_reader: Callable[[], Reader[State]],
    starts: Sequence[State],
    *,
    store: Callable[[State], State] = lambda state: state,
) -> int:
    """Read on from every position of every start, and prove that what follows is what an uninterrupted reader gives.

    At each position: with a new reader; with the same reader, set back; and twice in a row, the second time from the
    state of a reader that was itself restored and has read one batch. `store` stands for the way of a state to disk
    and back. Returns the number of positions.
    """
    num_positions = 0
    for start in starts:
        states, expected = _read(make_reader(), start)
        for index, state in enumerate(states):
            rest = (states[index:], expected[index:])
            reader = make_reader()
            assert _read(reader, store(state)) == rest, f"a new reader at {state} differs"
            assert _read(reader, store(state)) == rest, f"the same reader, set back to {state}, differs"
            again = _state_after_one_batch(make_reader(), store(state))
            rest = (states[index + 1 :] or [state], expected[index + 1 :])
            assert _read(make_reader(), store(again)) == rest, f"a second interruption, one batch after {state}, shows"
        num_positions += len(states)
    return num_positions


def snapshot(value: Any) -> Any:
    """Return a copy of a batch that compares by value: arrays and tensors as type, shape and bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: snapshot(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [snapshot(item) for item in value]
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return (array.dtype.str, array.shape, array.tobytes())
    return value


def _read(reader: Reader[State], start: State) -> tuple[list[State], list[Any]]:
    """Return the state before each batch and after the last one, and all batches, from `start` to the end."""
    reader.reset(start)
    states, batches = [reader.get_state()], []
    while (batch := _next(reader)) is not None:
        batches.append(snapshot(batch))
        states.append(reader.get_state())
    return states, batches


def _next(reader: Reader[State]) -> Any:
    try:
        return reader.__next__()
    except StopIteration:
        return None


def _state_after_one_batch(reader: Reader[State], start: State) -> State:
    reader.reset(start)
    _next(reader)
    return reader.get_state()
