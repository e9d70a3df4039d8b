"""Made-up logs of events: what a run would have written, line by line, with a clock that the test sets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.event_reader import LoggedEvent
from pipeline.events import Event, Kind

RUN = "test-00000000"


@dataclass
class MadeUpLog:
    """Takes events one after the other; `now` is in seconds since 1970."""

    now: float = 1000.0
    events: list[LoggedEvent] = field(default_factory=list)

    def tell(self, kind: Kind, stage: str = "", *, after: float = 1.0, run: str = RUN, **data: Any) -> None:
        """Add an event `after` seconds."""
        self.now += after
        self.events.append(LoggedEvent(self.now, run, Event(kind, stage, data), len(self.events) + 1))

    def start(self, *, pause: float = 1.0, run: str = RUN) -> None:
        """Begin a session."""
        self.tell(Kind.RUN_STARTED, after=pause, run=run)

    def work(self, stage: str, action: str = "run", *, seconds: float | None = 10.0, run: str = RUN) -> None:
        """Let a stage begin, and end after some seconds, unless they are None."""
        self.tell(Kind.DECISION, stage, run=run, detail=f"{action} {stage}")
        self.tell(Kind.STAGE_STARTED, stage, run=run, action=action)
        if seconds is not None:
            self.tell(Kind.STAGE_FINISHED, stage, after=seconds, run=run)

    def train(self, *, epochs: int = 2, chunks: int = 3, first: int = 0, last: int | None = None, **given: Any) -> None:
        """Tell of chunks and points of curves in the order of training, from the `first` to before the `last` chunk."""
        for place in range(epochs * chunks)[first:last]:
            epoch, chunk = place // chunks, chunks - 1 - place % chunks
            loss = 4.0 / (1 + place)
            self.tell(
                Kind.METRICS,
                "training",
                step=10 * (place + 1),
                loss=loss,
                loss_box=loss / 2,
                lr=0.01,
                gradient_norm=loss,
            )
            told = {"epoch": epoch, "chunk": chunk, "done": place % chunks + 1, "total": chunks, "samples": 100}
            self.tell(Kind.CHUNK, "training", **(told | {"skipped": 0, "loss": loss} | given))
            if chunk == 0:
                self.tell(Kind.METRICS, "training", step=10 * (place + 1), validation_ap=0.5, validation_ap50=0.7)

    def write(self, path: Path) -> None:
        """Write the log as a file, in the second format of its lines."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(_line(logged))}\n" for logged in self.events))


def _line(logged: LoggedEvent) -> dict[str, Any]:
    time = datetime.fromtimestamp(logged.time, UTC).isoformat(timespec="milliseconds")
    return {
        "v": 2,
        "time": time,
        "run": logged.run,
        "kind": logged.event.kind,
        "stage": logged.event.stage,
        "data": logged.event.data,
    }


def killed_and_stopped() -> MadeUpLog:
    """Return the log of a training that was killed once, stopped once, and done the third time."""
    log = MadeUpLog()
    log.start()
    log.work("data_generation", seconds=4)
    log.work("training", seconds=None)
    log.train(last=3)
    log.start(pause=3600)
    log.work("training", "resume", seconds=None)
    log.train(first=2, last=4)
    log.tell(Kind.INTERRUPTED, "training", signal=15, where="step 40")
    log.start(pause=60)
    log.work("training", "resume", seconds=None)
    log.train(first=4)
    log.tell(Kind.STAGE_FINISHED, "training")
    log.work("evaluation", seconds=5)
    return log
