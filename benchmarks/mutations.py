"""Removes each protective step from the code in turn, and runs the test that must then go red.

Every mutation works on a copy of the tree, so the tree itself is never changed. Prints a Markdown table; exits with 1
if a mutation survives. `--only WORD` takes those whose name contains the word.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutations_of_records
import mutations_of_sight
import mutations_of_surroundings
import mutations_of_training
from mutation import Mutation

ROOT = Path(__file__).parent.parent
MUTATIONS = (
    *mutations_of_records.MUTATIONS,
    *mutations_of_training.MUTATIONS,
    *mutations_of_surroundings.MUTATIONS,
    *mutations_of_sight.MUTATIONS,
)
_COPIED = ("pipeline", "stages", "tests", "benchmarks", "pyproject.toml", "README.md", "SECURITY.md")
_PATIENCE = 120.0  # seconds for one test
_RED = 1  # pytest's exit code for failed tests; others mean that nothing was tested


def main() -> int:
    """Try the mutations and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="take the mutations whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutations tried side by side")
    options = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if options.only in mutation.name]
    started = time.monotonic()
    survivors = 0
    print("| what is removed | where | the test that goes red | result |\n| --- | --- | --- | --- |")
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutation, code in zip(chosen, pool.map(_exit_code, chosen), strict=True):
            survivors += code != _RED
            outcome = "caught" if code == _RED else "SURVIVED" if code == 0 else f"pytest exit code {code}"
            print(f"| {mutation.name} | `{mutation.path}` | `{mutation.test}` | {outcome} |", flush=True)
    seconds = time.monotonic() - started
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutations caught in {seconds:.0f} s (`make mutations`)")
    return 1 if survivors else 0


def _exit_code(mutation: Mutation) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name in _COPIED:
            source, target = ROOT / name, Path(folder, name)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, target)
        path = Path(folder, mutation.path)
        path.write_text(mutation.applied_to(path.read_text()))
        # The copy comes before the installed package, also in processes that the test starts elsewhere.
        environment = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{mutation.test}"]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE
            )
        except subprocess.TimeoutExpired:
            return _RED  # a test that hangs is not green
        if done.returncode not in (0, _RED):
            print(f"{mutation.name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
