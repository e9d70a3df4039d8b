"""What all benchmarks share: measuring in turns, the machine's name, and a section of RESULTS.md for each."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
ENVIRONMENTS = Path(__file__).parent.parent / ".bench"  # made by `make bench-setup`, one for each file in peers/


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of measurements of one kind."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def row(self, *, digits: int = 0, scale: float = 1.0) -> str:
        """Return `median | min | max`, three cells of a Markdown table."""
        return " | ".join(f"{scale * value:,.{digits}f}" for value in (self.median, self.min, self.max))


def in_turns(measures: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Call all measures once in each round, so that a machine that drifts moves all of them; return their values."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            values[name].append(measure())
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return values


def ratios(values: Sequence[float], to: Sequence[float]) -> Spread:
    """Return the spread of the ratios of measurements that were taken in the same round."""
    return Spread.of([value / other for value, other in zip(values, to, strict=True)])


def machine() -> str:
    """Describe where this runs: processor, usable cores, Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores (shared), Python {platform.python_version()}"


def python_of(peer: str) -> Path:
    """Return the interpreter that has the packages of `peers/<peer>.txt`; ends the program where it is not set up."""
    path = ENVIRONMENTS / peer / "bin" / "python"
    if not path.exists():
        raise SystemExit(f"{path} is not there: run `make bench-setup` first")
    return path


def write_section(title: str, body: str) -> None:
    """Print a section and put it into RESULTS.md, in the place of the one whose title begins with the same words.

    Args:
        title: without the `## `; what stands before its first `(` or `:` tells sections apart.
        body: Markdown.
    """
    text = f"## {title}\n\n{body.strip()}\n"
    print(text)
    sections = RESULTS.read_text().split("\n## ")
    key = _key(title)
    index = next((place for place, section in enumerate(sections[1:], 1) if _key(section.splitlines()[0]) == key), None)
    if index is None:
        sections.append(text[3:])
    else:
        sections[index] = text[3:]
    RESULTS.write_text("\n## ".join(section.rstrip("\n") + "\n" for section in sections))


def _key(title: str) -> str:
    return title.partition("(")[0].partition(":")[0].strip()
