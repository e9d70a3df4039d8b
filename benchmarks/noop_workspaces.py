"""Two workspaces in which everything is done: the professional data set, and one of 10,000 chunks.

Both are made by the real stages, with a task that trains at the speed of reading (`noop_task.py`), take a minute or two
the first time, and stay in `.bench/noop/`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from processes import PIPELINE, ROOT, Command
from side_by_side import ENVIRONMENTS

FOLDER = ENVIRONMENTS / "noop"
_SETTINGS = """\
profile = "noop"

[profiles.noop]
extends = "professional"
{data}
[profiles.noop.training]
epochs = 1
batch_size = 2000
validation = {{ metric = "loss", goal = "min" }}
averaging = {{ method = "none" }}
task = {{ builder = "benchmarks.noop_task:build" }}

[profiles.noop.evaluation]
targets = []
"""
_MANY = """
[profiles.noop.data_generation]
chunk_size = 1
image_size = 32
min_extent = 0.3
max_extent = 0.9
"""
# 100 chunks for training and 15 for validation and tests, 1.7 GB; and a hundred times as many small ones.
LARGE, MANY = "large", "many"
_DATA = {LARGE: "", MANY: _MANY}


def prepared(name: str) -> Path:
    """Return the workspace LARGE or MANY, in which the next run finds everything done and remembered."""
    workspace = FOLDER / name
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / "pipeline.toml").write_text(_SETTINGS.format(data=_DATA[name]))
    print(f"preparing {workspace}", file=sys.stderr)
    # `-m`, so that the folder of the task is found; one thread, as a batch is read and little more.
    words = (sys.executable, "-m", "pipeline", "run", "--on-code-change", "rerun", "--workspace", str(workspace))
    Command(words=words, environment={"OMP_NUM_THREADS": "1"}).run(output=FOLDER / f"{name}.log")
    time.sleep(2.5)  # what was just written is not remembered: it might change within the same tick of the clock
    for _ in range(2):
        cached_run(workspace).run()
    return workspace


def cached_run(workspace: Path) -> Command:
    """Return `pipeline run` in a workspace that was prepared."""
    return on(workspace, "run")


def on(workspace: Path, *words: str) -> Command:
    """Return a command of the pipeline in `workspace`."""
    return Command(words=(*PIPELINE, *words, "--workspace", str(workspace)), folder=ROOT)


def chunks(workspace: Path) -> list[Path]:
    """Return the chunks of a workspace."""
    return sorted(workspace.glob("datasets/*/*.safetensors"))
