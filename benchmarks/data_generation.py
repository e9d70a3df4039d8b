"""Data generation at 416 x 416 (1 to 6 shapes), chunks on the disk, beside libraries that only draw.

    make bench-data-generation            # or: python benchmarks/data_generation.py [--rounds N] [--num-images N]

One run measures all of it in turns. The first table is `pipeline run --until data_generation` with the settings of the
professional profile, with one worker and with two: the whole process from start to end; inside it the stage's own
time for making sure of all chunks (layout, drawing, boxes, noise, digests, fsync, and with two workers their start);
and inside that the time from the first chunk to the last, which no start is part of.
The second table is what one process, and two at the same time, do in memory: ours (whole scenes with boxes and noise)
beside bare drawing with OpenCV, aggdraw and Pillow, and beside scenes in plain Python (`benchmarks/peers/drawing/`).
The third says where the time of one process goes.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from side_by_side import ENVIRONMENTS, Spread, in_turns, machine, python_of, ratios, write_section

from pipeline import files
from stages.chunks.chunk import encode_chunk
from stages.data_generation.config import DataGenerationConfig
from stages.data_generation.render import draw_shape, render_samples
from stages.data_generation.scene import lay_out
from stages.data_generation.styles import Marks, make_marks

CONFIG = DataGenerationConfig(image_size=416)  # as the professional profile draws
_DRAW = Path(__file__).resolve().parent / "peers" / "drawing" / "draw.py"
_GOAL = "Goals: at least 2,000 images/s on 2 cores with all chunks written; at least 1.8x from 1 to 2 cores."
NUM_BESIDE = 200  # images for validation and test
SECONDS = 1.0  # that a process draws in memory
PEERS = {
    "opencv": "OpenCV, drawing alone",
    "aggdraw": "aggdraw, drawing alone",
    "pillow2x": "Pillow, drawing alone, 2x and made smaller",
    "pillow4x": "Pillow, drawing alone, 4x and made smaller",
    "layout": "plain Python, layout of a scene alone",
    "scene": "plain Python and aggdraw, whole scenes with boxes",
}
OURS = "**ours: whole scenes with boxes and noise**"


@dataclass(frozen=True)
class StageRun:
    """Images a second of one run, by the time that is looked at, and microseconds of CPU time for each image."""

    whole: float
    chunks: float
    between: float
    user: float
    system: float


class Stage:
    """Runs the stage in a workspace that is emptied before each run."""

    def __init__(self, workspace: Path, *, num_images: int) -> None:
        self._workspace = workspace
        self.num_images = num_images
        self.runs: dict[int, list[StageRun]] = {1: [], 2: []}

    def run(self, num_workers: int) -> float:
        """Run it as a user does and return images a second, of the whole process."""
        settings = {
            "data_generation.dataset_size": self.num_images - NUM_BESIDE,
            "data_generation.validation_size": NUM_BESIDE // 2,
            "data_generation.test_size": NUM_BESIDE // 2,
            "runtime.num_workers": num_workers,
        }
        command = [sys.executable, "-m", "pipeline", "run", "--profile", "professional", "--until", "data_generation"]
        chosen = [f"--set={name}={value}" for name, value in settings.items()]
        shutil.rmtree(self._workspace, ignore_errors=True)
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, *chosen, f"--workspace={self._workspace}"], check=True, capture_output=True)
        whole, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        (record,) = (self._workspace / "checkpoints" / "data_generation").glob("*.json")
        run = StageRun(
            whole=self.num_images / whole,
            chunks=self.num_images / json.loads(record.read_text())["metrics"]["drawing_seconds"],
            between=self._rate_between(num_workers),
            user=1e6 * user / self.num_images,
            system=1e6 * system / self.num_images,
        )
        self.runs[num_workers].append(run)
        return run.whole

    def _rate_between(self, num_workers: int) -> float:
        """Return images a second from the time when each worker may have left a chunk to the last chunk."""
        chunks = (self._workspace / "datasets").glob("*/*.safetensors")
        times = sorted(path.stat().st_mtime for path in chunks)[num_workers - 1 :]
        return CONFIG.chunk_size * (len(times) - 1) / (times[-1] - times[0])


def drawn_at_once(command: list[str], *, num_processes: int) -> float:
    """Return the images a second of processes that draw at the same time, all together."""
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(num_processes)]
    return sum(float(process.communicate()[0]) for process in started)


def draw_in_memory(seconds: float) -> None:
    """Draw for that long, chunk by chunk, and print images a second; runs in a process of its own."""
    render_samples(CONFIG, first_sample_id=0, count=CONFIG.chunk_size)
    number, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        render_samples(CONFIG, first_sample_id=number, count=CONFIG.chunk_size)
        number += CONFIG.chunk_size
    print(number / elapsed)


def draw_all(shapes: Iterable[tuple[Sequence[Marks], Sequence[int], float]]) -> None:
    """Draw shapes, each on its sheet, and measure their boxes."""
    for marks, sheet, width in shapes:
        draw_shape(marks, sheet=sheet, width=width)


def microseconds_by_part(folder: Path, *, num_chunks: int = 5) -> dict[str, float]:
    """Return how long each part of making a chunk takes, in microseconds an image."""
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable[[], object]) -> object:
        started = time.perf_counter()
        result = work()
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - started
        return result

    count = CONFIG.chunk_size
    for number in range(num_chunks + 1):
        if number == 1:
            seconds.clear()  # the first is for warming up
        first = number * count
        strokes = lay_out(CONFIG, first_sample_id=first, count=count)
        marks = make_marks(strokes)
        shapes = list(zip(marks, strokes.sheet.tolist(), strokes.width.tolist(), strict=True))
        timed("layout", partial(lay_out, CONFIG, first_sample_id=first, count=count))
        timed("strokes in their styles", partial(make_marks, strokes))
        timed("drawing and boxes", partial(draw_all, shapes))
        timed("all of the scenes", partial(render_samples, CONFIG, first_sample_id=first, count=count))
        arrays = render_samples(CONFIG, first_sample_id=first, count=count)
        data = encode_chunk(arrays, first_sample_id=first, origin="benchmark")
        timed("digests, one copy", partial(encode_chunk, arrays, first_sample_id=first, origin="benchmark"))
        timed("write and fsync", partial(files.write_bytes, folder / f"{number}", data))
    others = sum(seconds[name] for name in ("layout", "strokes in their styles", "drawing and boxes"))
    seconds["noise, putting together"] = seconds.pop("all of the scenes") - others
    return {name: value / (num_chunks * count) * 1e6 for name, value in seconds.items()}


def stage_table(stage: Stage) -> list[str]:
    """Return the table of the whole stage."""
    rows = [
        "| images/s with chunks on disk | 1 worker | min | max | 2 workers | min | max | times | min | max |",
        "| --- |" + " --- |" * 9,
    ]
    for name, field in {
        "whole process": "whole",
        "**all chunks**": "chunks",
        "from the first chunk to the last": "between",
        "(CPU us an image, user)": "user",
        "(CPU us an image, system)": "system",
    }.items():
        one, two = ([float(getattr(run, field)) for run in runs] for runs in stage.runs.values())
        times = ratios(two, one).row(digits=2)
        rows.append(f"| {name} | {Spread.of(one).row()} | {Spread.of(two).row()} | {times} |")
    return rows


def memory_table(values: dict[str, list[float]]) -> list[str]:
    """Return the table of what is drawn in memory."""
    rows = ["| in memory | 1 process: images/s | min | max | 2 processes | min | max |", "| --- |" + " --- |" * 6]
    for name in (OURS, *PEERS.values()):
        one, two = (Spread.of(values[f"{name} x{number}"]).row() for number in (1, 2))
        rows.append(f"| {name} | {one} | {two} |")
    return rows


def main(*, rounds: int, num_images: int) -> None:
    """Measure all of it in turns and write the section."""
    commands = {name: [str(python_of("drawing")), str(_DRAW), method, str(SECONDS)] for method, name in PEERS.items()}
    commands[OURS] = [sys.executable, __file__, "--in-memory", str(SECONDS)]
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:  # on the disk of the project, not one in memory
        stage = Stage(Path(folder) / "workspace", num_images=num_images)
        stage.run(2)  # warms up
        stage.runs[2].clear()
        measures = {f"stage x{workers}": partial(stage.run, workers) for workers in stage.runs}
        measures |= {
            f"{name} x{number}": partial(drawn_at_once, command, num_processes=number)
            for name, command in commands.items()
            for number in (1, 2)
        }
        values = in_turns(measures, rounds=rounds)
        parts = microseconds_by_part(Path(folder))
    body = [f"{num_images} images of 416 x 416 in chunks of 100; median of {rounds}, in turns; {machine()}."]
    body += [_GOAL, ""]
    body += [*stage_table(stage), "", *memory_table(values), "", "| part, 1 process | us an image |", "| --- | --- |"]
    body += [f"| {name} | {value:.0f} |" for name, value in parts.items()]
    write_section("Data generation: 416 x 416, chunks on disk (`make bench-data-generation`)", "\n".join(body))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-images", type=int, default=11500)
    parser.add_argument("--in-memory", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_memory:
        draw_in_memory(arguments.in_memory)
    else:
        main(rounds=arguments.rounds, num_images=arguments.num_images)
