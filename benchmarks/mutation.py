"""A protective step, with what the code would be without it and the test that tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """Replaces the text `old`, which occurs once in the file `path`, by `new`; `test` is a pytest node below tests/."""

    name: str
    path: str
    old: str
    new: str
    test: str

    def applied_to(self, source: str) -> str:
        """Return the mutated source."""
        assert source.count(self.old) == 1, f"{self.name}: {self.path} has {source.count(self.old)} times {self.old!r}"
        return source.replace(self.old, self.new)
