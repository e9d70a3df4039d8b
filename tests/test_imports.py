"""What importing this program does besides: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).parent

_IMPORTS = """
import importlib, json, os, pkgutil, sys, tempfile
import pipeline, stages
seen = []
FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.mkdir",
             "os.remove", "os.rename", "shutil.")
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen.append([event, str(path)])
    elif event.startswith(FORBIDDEN):
        seen.append([event, str(arguments[0]) if arguments else ""])
sys.addaudithook(watch)
names = [found.name for package in (pipeline, stages)
         for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if "__main__" not in found.name]
light = [name for name in names if name.startswith("pipeline.") or name in ("stages.catalog",)]
for name in light:
    importlib.import_module(name)
num_light = len(seen)
assert "torch" not in sys.modules
for name in names:
    importlib.import_module(name)
print(json.dumps({"names": names, "light": seen[:num_light], "all": seen, "torch": "torch" in sys.modules}))
"""


def test_no_import_connects_starts_or_writes(tmp_path: Path) -> None:
    """Importing any of our modules opens no socket, starts no process and writes nothing.

    Two things are torch's own: its CUDA builds ask `ldconfig -p` where libraries are, and torchvision makes an empty
    `torchinductor_<user>` in the folder for temporary files.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(_TESTS.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)  # which torch itself sets, in the process of the tests
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        cwd=tmp_path,
        env={**environment, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(done.stdout)
    assert found["torch"]
    assert len(found["names"]) > 80
    assert found["light"] == []
    others = [what for _, what in found["all"] if not what.startswith((str(temporary), os.devnull))]
    assert [Path(what).name for what in others if Path(what).name != "ldconfig"] == []
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert list(tmp_path.iterdir()) == [temporary]
