"""The reporter that feeds trackers: what of the events of a run is worth keeping beside those of other runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import RuntimeOptions
from pipeline.decide import Action, Reason
from pipeline.events import Event, Kind
from pipeline.secrets import hide
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.trackers.feeder import Feeder  # a run that finds everything done feeds nobody

_DEFAULT = "tensorboard"  # not missed where it is not installed
_FROM_ZERO = frozenset({Reason.FORCED, Reason.CODE_CHANGED, Reason.INPUTS_CHANGED, Reason.ARTIFACT_DAMAGED})


class Trackers:
    """Feeds the trackers that the settings name, from the first stage that has something to do; `emit` only enqueues.

    Args:
        config: all settings by dotted key.
        tell: told of each tracker that fails, once.
    """

    def __init__(
        self,
        runtime: RuntimeOptions,
        *,
        config: Mapping[str, Any],
        workspace: Workspace,
        tell: Callable[[str], None],
    ) -> None:
        self._runtime = runtime
        self._config = config
        self._workspace = workspace
        self._tell = tell
        self._run = ""
        self._status = "failed"
        self._is_begun = False
        self._stages_from_zero: set[str] = set()
        self._feeders: list[Feeder] = []
        self._before_curves: list[Mapping[str, Any]] | None = []

    def emit(self, event: Event) -> None:
        """Pass on what `event` tells that trackers keep."""
        data = event.data
        match event.kind:
            case Kind.METRICS:
                self._begin_curves()
                values = {name: value for name, value in data.items() if name != "step" and _is_number(value)}
                is_anew = event.stage in self._stages_from_zero
                self._put({"do": "points", "step": data["step"], "values": values, "is_anew": is_anew})
            case Kind.RUN_STARTED:
                self._run = str(data["run"])
            case Kind.DECISION:
                if data["action"] == Action.RUN and data["reason"] in _FROM_ZERO:
                    self._stages_from_zero.add(event.stage)
            case Kind.STAGE_STARTED:
                self._begin()
            case Kind.STAGE_FINISHED:
                self._put({"do": "figures", "values": dict(_numbers(data["metrics"], prefix=event.stage))})
                for path in data.get("outputs", ()):
                    self._put_file(self._workspace.absolute(path))
            case Kind.INTERRUPTED:
                self._status = "interrupted"
            case Kind.RUN_FINISHED:
                self._status = "done"

    def close(self) -> None:
        """Let the trackers finish; together they have a few seconds."""
        if not self._feeders:
            return
        from pipeline.report.sheet import REPORT_NAME
        from pipeline.trackers.process import FINISH_SECONDS

        self._put_file(self._workspace.results / self._run / REPORT_NAME)
        # After SIGTERM, SIGKILL is near: the state is saved, so nothing else waits for what is left of the time.
        patience = (
            min(FINISH_SECONDS, self._runtime.grace_seconds / 4) if self._status == "interrupted" else FINISH_SECONDS
        )
        deadline = time.monotonic() + patience
        for feeder in self._feeders:
            feeder.finish(self._status)
        for feeder in self._feeders:
            feeder.wait(deadline, patience=patience)
        self._feeders = []

    def _begin(self) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        self._start([name for name in self._runtime.trackers if name != _DEFAULT])

    def _begin_curves(self) -> None:
        """Start the default tracker, which only shows curves: a run without any is not kept waiting for it."""
        if self._before_curves is None:
            return
        said, self._before_curves = self._before_curves, None
        if _DEFAULT in self._runtime.trackers and self._runtime.tensorboard:
            for feeder in self._start([_DEFAULT]):
                for each in said:
                    feeder.put(each)

    def _start(self, names: Sequence[str]) -> list[Feeder]:
        from pipeline.trackers.catalog import is_installed
        from pipeline.trackers.feeder import Feeder

        started, python = [], self._runtime.tracker_python
        for name in dict.fromkeys(names):
            if python or is_installed(name):
                started.append(Feeder(self._opening(name), python=python, tell=self._tell))
            elif name != _DEFAULT:
                self._tell(
                    f"the tracker {name} is not installed, so the run goes on without it: pip install "
                    f"'stage-pipeline[{name}]', or take it out of runtime.trackers"
                )
        self._feeders += started
        return started

    def _opening(self, name: str) -> dict[str, Any]:
        return {
            "tracker": name,
            "name": self._run,
            "moment": time.strftime("%Y%m%d_%H%M%S"),
            "project": self._runtime.tracker_project,
            "config": hide(self._config),
            "logs": str(self._workspace.logs),
            "is_online": self._runtime.tracker_online,
        }

    def _put(self, said: Mapping[str, Any]) -> None:
        if self._before_curves is not None:
            self._before_curves.append(said)
        for feeder in self._feeders:
            feeder.put(said)

    def _put_file(self, path: Path) -> None:
        if path.is_file():
            self._put({"do": "artifact", "path": str(path)})


def _numbers(values: Mapping[str, Any], *, prefix: str) -> Iterator[tuple[str, float]]:
    """Yield each number in nested figures under its path; lists, as the history of a training is one, are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, prefix=f"{prefix}/{name}")
        elif _is_number(value):
            yield f"{prefix}/{name}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
