"""What a command answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Answer:
    """What goes to stdout, and the error with which the command ends nevertheless, if any.

    Attributes:
        text: makes the text for a width in characters; 0 means any.
        then: what the command goes on with when its answer is told, as a server does.
    """

    document: Mapping[str, Any]
    text: Callable[[int], str]
    error: PipelineError | None = None
    then: Callable[[], None] | None = None
