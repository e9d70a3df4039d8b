"""Part 5 of the GPU check: what a checkpoint costs the training, and when it is durable."""

from __future__ import annotations

import threading
import time
from typing import Any

from gpu_check_setting import Setting
from gpu_check_steps import opened, take

from stages.training.checkpoints import CheckpointStore
from stages.training.saving import Saver

_ROUNDS = 3
_POLL_SECONDS = 0.005


def saving(setting: Setting) -> dict[str, Any]:
    """Return for each round the seconds that a save blocked, that were lost by it in all, and until it was durable.

    Lost is what as many steps as take longer than a save is in flight take longer with one at their beginning.
    """
    num_steps = setting.pick(100, tiny=2)
    figures: dict[str, list[float]] = {"blocked_seconds": [], "lost_seconds": [], "durable_seconds": []}
    with opened(setting, setting.training_config(), setting.manifest()) as (session, _):
        saver = Saver(session)
        take(session, setting.pick(30, tiny=1))
        _Durable(session.store).after(lambda: saver.save(is_final=False))  # the first has memory to get
        for _ in range(_ROUNDS):
            plain = take(session, num_steps)
            durable = _Durable(session.store)
            started = time.perf_counter()
            saver.save(is_final=False)
            blocked = time.perf_counter() - started
            lost = blocked + take(session, num_steps).seconds - plain.seconds
            for name, seconds in (("blocked", blocked), ("lost", lost), ("durable", durable.wait() - started)):
                figures[f"{name}_seconds"].append(seconds)
        num_bytes = sum(file.stat().st_size for file in session.store.checkpoints()[-1].path.iterdir())
    return {**figures, "bytes": num_bytes}


class _Durable:
    """Looks when another checkpoint is complete: only one that is durable has its name."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._before = self._newest()
        self._at = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def wait(self) -> float:
        """Return when it was, by `time.perf_counter`."""
        self._thread.join()
        return self._at

    def after(self, save: Any) -> None:
        """Save, and wait until it is durable."""
        save()
        self.wait()

    def _look(self) -> None:
        while self._newest() == self._before:
            time.sleep(_POLL_SECONDS)
        self._at = time.perf_counter()

    def _newest(self) -> str:
        return max((item.path.name for item in self._store.checkpoints() if item.is_complete), default="")
