"""What was found of one thing that a run needs, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How well it is."""

    OK = "ok"
    ADVICE = "advice"  # it works; it could be better
    PROBLEM = "problem"  # something will not work


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found.

    Attributes:
        name: of what was looked at, in a word or two.
        told: what was found, in words.
        advice: what to do; empty where all is well.
        figures: the numbers of it, for programs.
    """

    name: str
    told: str
    state: State = State.OK
    advice: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "state": self.state.value,
            "told": self.told,
            "advice": self.advice,
            "figures": dict(self.figures),
        }
