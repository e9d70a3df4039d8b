"""The same samples for every loader, each in its own format, and one process for each measurement.

The samples are 4,000 scenes of the professional profile (1 x 416 x 416, noise included) in chunks of 100. They and the
formats of the peers are made once and kept in `.bench/samples`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side import ENVIRONMENTS, python_of

from stages.chunks.manifest import Manifest, load_manifest, save_manifest

NUM_SAMPLES = 4000
NUM_BATCHES = 125  # of 32
LABELS = {
    "floor": "floor: mapped chunks copied into two buffers",
    "ours": "ours",
    "litdata": "LitData 0.2.76",
    "stateful": "StatefulDataLoader 0.11.0 on our chunk files",
    "stateful-iterable": "StatefulDataLoader, iterable",
    "accelerate": "Accelerate 1.15.0, skip_first_batches",
    "accelerate-iterable": "Accelerate, iterable",
    "arrow": "HF datasets 5.2.0, Arrow, map-style",
    "arrow-iterable": "HF datasets, iterable, buffer of 1,000",
    "mds": "MDS (mosaicml-streaming 0.13.0)",
    "webdataset": "WebDataset 1.0.2, PNG",
}
FLOOR_AND_OURS = ("floor", "ours")

_MEASURE = Path(__file__).parent / "peers" / "loaders" / "measure.py"
_SAMPLES = ENVIRONMENTS / "samples"
STATES = _SAMPLES / "states"
# How each loader's data are made; those that are not named read the chunk files themselves.
_FORMATS = {"litdata": "litdata", "arrow": "arrow", "arrow-iterable": "arrow", "mds": "mds", "webdataset": "webdataset"}
_PYTHONS = {"litdata": "litdata", "mds": "mds"}
_PATIENCE = 300  # seconds


def prepare(cases: Sequence[str]) -> None:
    """Make the samples and all formats that are not there yet, and bring them into the page cache."""
    settings = [f"data_generation.{key}={value}" for key, value in _sizes().items()]
    command = [sys.executable, "-m", "pipeline", "run", "--profile", "professional", "--until", "data_generation"]
    command += ["--workspace", str(_SAMPLES / "scenes"), *(word for setting in settings for word in ("--set", setting))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for case in cases:
        target = data_of(case)
        if not target.exists():
            print(f"writing the samples for {LABELS[case]}", file=sys.stderr)
            target.parent.mkdir(parents=True, exist_ok=True)
            run(case, "write", str(_chunk_folder()), str(target))
    for path in sorted(_SAMPLES.rglob("*")):
        if path.is_file():
            _read(path)


def _sizes() -> dict[str, int]:
    return {"dataset_size": NUM_SAMPLES, "validation_size": 100, "test_size": 100}


def manifest_path() -> Path:
    """Return the manifest of the samples."""
    name = "-".join(str(size) for size in _sizes().values())
    (path,) = (_SAMPLES / "scenes" / "datasets").glob(f"*/{name}/manifest.json")
    return path


def simulated_manifest(num_chunks: int) -> Path:
    """Return a manifest of so many chunks, of which every 40th is the same file; ids and sizes are as in a real one."""
    path = _chunk_folder() / f"simulated-{num_chunks}" / "manifest.json"
    if not path.exists():
        real = load_manifest(manifest_path())
        files = real.split("train")
        entries = tuple(
            files[chunk_id % len(files)].model_copy(update={"chunk_id": chunk_id, "first_sample_id": 100 * chunk_id})
            for chunk_id in range(num_chunks)
        )
        save_manifest(path, Manifest(meta=real.meta, chunks=entries))
    return path


def _chunk_folder() -> Path:
    return manifest_path().parent.parent


def data_of(case: str) -> Path:
    """Return where the samples of a loader lie."""
    if case == "ours":
        return manifest_path()
    return _SAMPLES / "formats" / _FORMATS[case] if case in _FORMATS else _chunk_folder()


def run(case: str, action: str, *arguments: str) -> dict[str, Any]:
    """Measure in a process of its own and return what it found; ends the program where it fails."""
    python = Path(sys.executable) if case in FLOOR_AND_OURS else python_of(_PYTHONS.get(case, "loaders"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_OFFLINE": "1", "DISABLE_TELEMETRY": "1"}
    command = [str(python), str(_MEASURE), case, action, *arguments]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
