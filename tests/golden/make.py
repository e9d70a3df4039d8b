"""Writes the golden files of the present format."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "PIPELINE_PIPELINE": "tiny_pipeline:PIPELINE"}
sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.cli import main
from pipeline.records import SCHEMA
from stages.training.saving import Saver

_NUM_SAVES = 3  # of the training that is killed


def write(folder: Path) -> None:
    """Fill `folder` with what a finished run and a killed training leave, without logs and caches."""
    # The committed files tell nothing of the machine that made them.
    socket.gethostname = lambda: "host"
    platform.platform = lambda **_: "Linux"
    with tempfile.TemporaryDirectory() as workspace:
        words = ["run", "--quiet", "--profile", "golden", "--workspace", workspace]
        assert main(words) == 0
        [finished] = [path for path in Path(workspace, "checkpoints", "training").iterdir() if path.is_dir()]
        shutil.rmtree(finished)  # a finished run needs none
        if not (child := os.fork()):
            _kill_after_saves()
            main([*words, "--set", "training.seed=1"])
        os.waitpid(child, 0)
        for old in sorted(Path(workspace).glob("checkpoints/training/*/checkpoint-*"))[:-1]:
            shutil.rmtree(old)
        Path(workspace, "checkpoints", ".stat_cache").unlink(missing_ok=True)
        for name in ("checkpoints", "datasets", "results"):
            shutil.copytree(Path(workspace, name), folder / name)


def _kill_after_saves() -> None:
    save, counts = Saver.save, iter(range(1, _NUM_SAVES + 1))

    def save_and_die(self: Saver, *, is_final: bool) -> None:
        save(self, is_final=is_final)
        if next(counts) == _NUM_SAVES:
            os.kill(os.getpid(), signal.SIGKILL)

    Saver.save = save_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    write(Path(__file__).with_name(f"format_{SCHEMA.version}"))
