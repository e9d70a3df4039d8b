"""Part 1 of the GPU check: the tests that need a GPU, which are skipped wherever else the test suite runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

from gpu_check_ledger import OutOfTimeError
from gpu_check_setting import ROOT, Setting
from places import without_places


def tests(setting: Setting) -> dict[str, Any]:
    """Run them, and return how many have passed, failed and been skipped; raises where they cannot be run."""
    marked = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text()]
    chosen = marked if not setting.is_tiny else [path for path in marked if path.stem == "test_device_pool"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *map(str, chosen)],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=max(1.0, setting.seconds_left()),
        )
    except subprocess.TimeoutExpired as error:
        raise OutOfTimeError("the tests were not over when time ran out") from error
    if done.returncode not in (0, 1):  # 1: some have failed, which is a result
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-500:]}")
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    failed = [
        without_places(line, roots=(ROOT, setting.workspace))
        for line in re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
    ]
    return {"passed": 0, "failed": 0, "skipped": 0, **counts, "failures": failed, "is_met": done.returncode == 0}
