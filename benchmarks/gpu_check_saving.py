"""Part 5 of the GPU check: what a checkpoint costs the training, and when it is durable."""

from __future__ import annotations

import time
from typing import Any

from gpu_check_setting import Setting
from gpu_check_steps import opened, take

from stages.training.saving import Saver

_ROUNDS = 3


def saving(setting: Setting) -> dict[str, Any]:
    """Return for each round the seconds that a save blocked, that were lost by it in all, and until it was durable.

    Lost is by how much a save at their beginning makes steps take longer that go on after it is durable: all that the
    host did and all that the device copied lies between the two moments, for nothing waits in between.
    """
    num_steps = setting.pick(100, tiny=2)
    figures: dict[str, list[float]] = {"blocked_seconds": [], "lost_seconds": [], "durable_seconds": []}
    with opened(setting, setting.training_config(), setting.manifest()) as (session, _), Saver(session) as saver:
        take(session, setting.pick(30, tiny=1))
        saver.save(is_final=False)  # the first one has memory to get
        saver.finish()
        for _ in range(_ROUNDS):
            plain = take(session, num_steps)
            started = time.perf_counter()
            saver.save(is_final=False)
            blocked = time.perf_counter() - started
            take(session, num_steps, is_waiting_first=False)
            lost = time.perf_counter() - started - plain.seconds
            saver.finish()
            for name, seconds in (("blocked", blocked), ("lost", lost), ("durable", saver.write_seconds)):
                figures[f"{name}_seconds"].append(seconds)
        num_bytes = sum(file.stat().st_size for file in session.store.checkpoints()[-1].path.iterdir())
    return {**figures, "bytes": num_bytes}
