"""What compressed chunks would cost and save: disk against reading speed (`make bench-compression`).

Scenes of the professional profile, 1 x 416 x 416, with their noise and without, under each way of compressing them, a
scene at a time or a whole chunk. "Batches/s" is shuffled reading of batches of 32, decoding included, out of memory, a
second of one core.
"Wins below" is the speed of a disk (MB/s) below which reading and decoding the compressed chunk takes less time than
reading the raw one; it is meaningful only where the data do not fit into the page cache, and one core decodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import ENVIRONMENTS, Spread, machine, python_of, ratios, write_section

from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.render import render_samples

NUM_IMAGES = 300
IMAGE_SIZE = 416
NOISE = {"with noise (the default, 12 grey levels)": 12, "without noise": 0}
_BATCH_BYTES = 32 * IMAGE_SIZE**2
_FOLDER = ENVIRONMENTS / "samples" / "compression"
_MEASURE = Path(__file__).parent / "peers" / "compression" / "measure.py"


def main() -> None:
    """Measure and write the section."""
    tables = [f"### {title}\n\n{_table(_measured(noise))}" for title, noise in NOISE.items()]
    write_section(
        f"Compressed chunks: {NUM_IMAGES} scenes of 1 x {IMAGE_SIZE} x {IMAGE_SIZE}",
        f"{machine()}; 3 rounds in turns (`make bench-compression`).\n\n" + "\n\n".join(tables),
    )


def _measured(noise: int) -> dict[str, Any]:
    path = _FOLDER / f"noise-{noise}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    config = DataGenerationConfig(image_size=IMAGE_SIZE, noise=noise)
    np.save(path, render_samples(config, first_sample_id=0, count=NUM_IMAGES)["image"])
    print(f"compressing with noise {noise}", file=sys.stderr)
    command = [str(python_of("compression")), str(_MEASURE), str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _table(measured: dict[str, Any]) -> str:
    raw = measured["ways"][0]["rates"]
    lines = [
        "| way | unit | bytes a scene | of raw | batches/s | min | max | of raw | wins below MB/s |",
        "| --- " * 9 + "|",
    ]
    for one in measured["ways"]:
        share = one["bytes"] / measured["raw_bytes"]
        speed = ratios(one["rates"], raw).median
        lines.append(
            f"| {one['way']} | {one['unit']} | {one['bytes'] / NUM_IMAGES:,.0f} | {share:.3f} "
            f"| {Spread.of(one['rates']).row()} | {speed:.3f} | {_break_even(one, share=share, raw=raw)} |"
        )
    return "\n".join(lines)


def _break_even(one: dict[str, Any], *, share: float, raw: list[float]) -> str:
    """Return the speed of a disk at which the bytes that are saved take as long as the decoding."""
    seconds = 1 / Spread.of(one["rates"]).median - 1 / Spread.of(raw).median
    return f"{_BATCH_BYTES * (1 - share) / seconds / 1e6:,.0f}" if seconds > 0 and share < 1 else ""


if __name__ == "__main__":
    main()
