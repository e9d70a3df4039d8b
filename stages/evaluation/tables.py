"""Parts and sums of tables of boxes: the frozen column records of `stages.coco`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from stages.coco import Detections, Truth

_Table = TypeVar("_Table", Truth, Detections)


def select(table: _Table, rows: slice | npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> _Table:
    """Return the given rows of `table`."""
    return replace(table, **{field.name: getattr(table, field.name)[rows] for field in fields(table)})


def concatenate(tables: Sequence[_Table]) -> _Table:
    """Return the rows of all `tables`, of which there is at least one, one after the other."""
    columns = {field.name: np.concatenate([getattr(one, field.name) for one in tables]) for field in fields(tables[0])}
    return replace(tables[0], **columns)
