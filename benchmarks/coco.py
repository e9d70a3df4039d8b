"""The COCO figures of 2,000 images with 100 detections each, beside the packages that compute them.

    make bench-coco            # or: python benchmarks/coco.py [--rounds N]

All get the same NumPy arrays and give the twelve figures; imports are not counted. "Own" is what a package takes once
everything is laid out for it; ours rests on faster-coco-eval, and counts all that it does itself. torchmetrics is
measured where its environment is set up. The last column is the greatest difference to pycocotools' figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import ENVIRONMENTS, Spread, in_turns, machine, python_of, ratios, write_section

from stages.coco import Detections, Truth, coco_figures, detections_of, truth_of

NUM_IMAGES = 2000
NUM_FOUND = 100
MAX_TRUTH = 12
NUM_CLASSES = 8
_GOAL = "Goals: at most faster-coco-eval's own time plus 10 %; all 12 figures equal to pycocotools'."
OURS, BASE, ORACLE = "ours", "faster-coco-eval", "pycocotools"
WITH_TORCH = ("torchmetrics-pycocotools", "torchmetrics-faster-coco-eval")


def random_boxes() -> tuple[Truth, Detections, np.ndarray[Any, Any]]:
    """Return truth (some images have none), detections half of which lie near a true box, and the image ids."""
    rng = np.random.default_rng(0)
    image_ids = np.arange(1, NUM_IMAGES + 1)
    shape = (NUM_IMAGES, MAX_TRUTH)
    boxes = np.concatenate([rng.uniform(0, 300, (*shape, 2)), np.exp(rng.uniform(2, 5.2, (*shape, 2)))], axis=-1)
    labels = rng.integers(0, NUM_CLASSES, shape)
    there = np.where(np.arange(MAX_TRUTH) < rng.integers(0, MAX_TRUTH + 1, NUM_IMAGES)[:, None], labels, -1)
    picked = rng.integers(0, MAX_TRUTH, (NUM_IMAGES, NUM_FOUND))
    rows = np.arange(NUM_IMAGES)[:, None]
    noise = rng.choice([0.02, 0.1, 2.0], (NUM_IMAGES, NUM_FOUND, 1))
    found = np.abs(boxes[rows, picked] * (1 + noise * rng.normal(size=(*picked.shape, 4))))
    guess = np.where(rng.random(picked.shape) < 0.8, labels[rows, picked], rng.integers(0, NUM_CLASSES, picked.shape))
    scores = rng.random(picked.shape).round(3)  # with ties
    return truth_of(image_ids, boxes, there), detections_of(image_ids, found, guess, scores), image_ids


def figures_of_ours() -> dict[str, Any]:
    """Compute with ours, in this process; returns what the peers' script prints."""
    import faster_coco_eval  # noqa: F401 - no part of the time

    truth, detections, image_ids = random_boxes()
    names = [str(label) for label in range(NUM_CLASSES)]
    started = time.perf_counter()
    figures = coco_figures(truth, detections, image_ids=image_ids, classes=names)
    seconds = time.perf_counter() - started
    values = [-1.0 if value is None else value for value in list(figures.to_json().values())[1:]]
    return {"seconds": seconds, "own_seconds": seconds, "figures": values}


class Packages:
    """Runs each package in its own environment and keeps what it printed."""

    def __init__(self, arrays: Path) -> None:
        script = Path(__file__).parent / "peers" / "coco" / "figures.py"
        self._commands = {OURS: [sys.executable, __file__, "--ours"]}
        self._commands |= {name: [str(python_of("coco")), str(script), name, str(arrays)] for name in (BASE, ORACLE)}
        if (ENVIRONMENTS / "torchmetrics" / ".installed").exists():  # large, so nobody has to
            with_torch = {name: [str(python_of("torchmetrics")), str(script), name, str(arrays)] for name in WITH_TORCH}
            self._commands |= with_torch
        self.printed: dict[str, list[dict[str, Any]]] = {name: [] for name in self._commands}

    def run(self, name: str) -> float:
        """Run one and return its seconds."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            self._commands[name], check=True, stdout=subprocess.PIPE, env=environment, stderr=subprocess.DEVNULL
        )
        self.printed[name].append(json.loads(done.stdout))
        return float(self.printed[name][-1]["seconds"])


def main(*, rounds: int) -> None:
    """Measure all in turns and write the section."""
    truth, detections, image_ids = random_boxes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        arrays = {f"truth_{name}": column for name, column in vars(truth).items()}
        arrays |= {f"found_{name}": column for name, column in vars(detections).items()}
        np.savez(path, image_ids=image_ids, num_classes=np.array(NUM_CLASSES), **arrays)
        packages = Packages(path)
        measures = {name: (lambda name=name: packages.run(name)) for name in packages.printed}
        values = in_turns(measures, rounds=rounds)
    expected = np.array(packages.printed[ORACLE][0]["figures"])
    rows = [
        "| package | seconds | min | max | times all of faster-coco-eval | min | max | times its own | difference |",
        "| --- |" + " --- |" * 8,
    ]
    own = [float(one["own_seconds"]) for one in packages.printed[BASE]]
    for name, seconds in values.items():
        difference = np.abs(np.array(packages.printed[name][0]["figures"]) - expected).max()
        to_all, to_own = ratios(seconds, values[BASE]), ratios(seconds, own)
        row = f"{Spread.of(seconds).row(digits=2)} | {to_all.row(digits=2)} | {to_own.median:.2f}"
        rows.append(f"| {name} | {row} | {difference:.1e} |")
    rows.append(f"| {BASE}, its own time alone | {Spread.of(own).row(digits=2)} | | | | 1.00 | |")
    head = f"{NUM_IMAGES} images x {NUM_FOUND} detections; median of {rounds}, in turns, one thread; {machine()}."
    write_section("COCO figures (`make bench-coco`)", "\n".join([head, _GOAL, "", *rows]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        print(json.dumps(figures_of_ours()))
    else:
        main(rounds=arguments.rounds)
