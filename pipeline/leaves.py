"""The single values of nested settings, by their dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(table: Mapping[str, Any], *, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of each leaf of `table`; an empty table is a leaf."""
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
