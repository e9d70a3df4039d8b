"""How a stage is decided about, drawn from the docstring of the function that does it."""

from __future__ import annotations

import inspect

from pipeline.decide import decide


def decisions() -> str:
    """Return the table of all cases; the first row that matches wins."""
    text = inspect.getdoc(decide)
    assert text, "the table stands there"
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))
