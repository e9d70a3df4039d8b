"""How fast counted work goes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Pace:
    """Counted work from where this run took it up to what was told last, with both moments in seconds of one clock."""

    unit: str
    first: int
    first_at: float
    last: int
    last_at: float
    total: int

    @classmethod
    def begin(cls, *, done: int, total: int, unit: str, at: float) -> Pace:
        """Return the pace of work that is taken up when `done` of `total` is done already."""
        return cls(unit, done, at, done, at, total)

    def after(self, *, done: int, total: int, unit: str, at: float) -> Pace:
        """Return the pace with more done; another unit, or less than before, is another work."""
        if unit != self.unit or done < self.last:
            return Pace.begin(done=done, total=total, unit=unit, at=at)
        return replace(self, last=done, last_at=at, total=total)

    @property
    def rate(self) -> float:
        """Units per second; 0 as long as it is not known."""
        seconds = self.last_at - self.first_at
        return (self.last - self.first) / seconds if seconds > 0 else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds from then until all is done; None as long as it is not known."""
        return (self.total - self.last) / self.rate if self.rate and self.total else None
