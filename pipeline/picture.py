"""What a run looks like on a terminal: lines of styled words, a pure function of the run, the moment and the width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.reporting import figures
from pipeline.run_view import RunView, StageView, State
from pipeline.tables import duration, printable, wrapped

_GAP = "  "
_STRIP_CELLS = (8, 48)  # fewer tell nothing, more are not seen at once
_WIDE = 60  # columns from which there is room for units and for names in a column
# Figures that have a place of their own in the picture, or that belong into curves.
PLACED = frozenset(
    {
        "epoch", "num_epochs", "chunk", "sample", "chunks_done", "num_chunks", "validated", "images_per_second",
        "loss", "lr", "gradient_norm", "eta_seconds", "checkpoint_age_seconds", "gpu_memory_gb", "gpu_use",
    }
)  # fmt: skip


class Span(NamedTuple):
    """Words in one style, as Rich names it; empty for none."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the picture; what is no `headline` is left out first where there is no room."""

    spans: tuple[Span, ...]
    is_headline: bool = False

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(span.text for span in self.spans)


@dataclass(frozen=True)
class Signs:
    """The characters of which the picture is made: guides of the tree, cells of a strip, marks of states."""

    guides: tuple[str, str]  # before a stage, and before the last one
    rails: tuple[str, str]  # before what is told of a stage, and of the last one
    cells: tuple[str, str, str]  # done, current, to come
    marks: Mapping[State, str]


UNICODE = Signs(
    guides=("├─ ", "└─ "),
    rails=("│    ", "     "),
    cells=("█", "▒", "░"),
    marks={
        State.WAITING: "·",
        State.RUNNING: "▶",
        State.DONE: "✓",
        State.SKIPPED: "✓",
        State.FAILED: "✗",
        State.INTERRUPTED: "‖",
    },
)
ASCII = Signs(
    guides=("|- ", "`- "),
    rails=("|    ", "     "),
    cells=("#", ">", "."),
    marks={
        State.WAITING: ".",
        State.RUNNING: ">",
        State.DONE: "+",
        State.SKIPPED: "+",
        State.FAILED: "x",
        State.INTERRUPTED: "=",
    },
)
_STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "bold cyan",
    State.DONE: "green",
    State.SKIPPED: "green",
    State.FAILED: "bold red",
    State.INTERRUPTED: "yellow",
}


def picture(view: RunView, *, at: float, width: int, height: int = 0, signs: Signs = UNICODE) -> list[Line]:
    """Return the run as a tree of its stages, no line longer than `width`, at most `height` lines (0: any number)."""
    lines = [_head(view, at)]
    for number, stage in enumerate(view.stages.values(), start=1):
        lines += _stage(stage, view, at=at, width=width, signs=signs, is_last=number == len(view.stages))
    return [replace(line, spans=tuple(_cut(line.spans, width))) for line in _fitting(lines, height)]


def strip(done: int, total: int, *, cells: int, signs: Signs = UNICODE, is_at_work: bool = True) -> list[Span]:
    """Return so many cells of which as many are full as of `total` are done; then the current one, then those to come.

    A cell is full when all that it stands for is done, so nothing looks done that is not.
    """
    num_full = done * cells // total if total else 0
    num_current = int(is_at_work and num_full < cells)
    counts = (num_full, num_current, cells - num_full - num_current)
    styles = ("green", "bold cyan", "dim")
    return [Span(sign * count, style) for sign, count, style in zip(signs.cells, counts, styles, strict=True) if count]


def _fitting(lines: list[Line], height: int) -> list[Line]:
    num_left_out = max(0, len(lines) - height) if height else 0
    details = [number for number, line in enumerate(lines) if not line.is_headline]
    left_out = set(details[len(details) - num_left_out :]) if num_left_out else set()
    kept = [line for number, line in enumerate(lines) if number not in left_out]
    return kept[:height] if height else kept


def _head(view: RunView, at: float) -> Line:
    seconds = view.seconds if view.seconds is not None else max(0.0, at - view.started)
    word = "took" if view.is_over else "running"
    return Line((Span(printable(view.run), "bold"), Span(f"{_GAP}{word} {duration(seconds)}", "dim")), is_headline=True)


def _stage(stage: StageView, view: RunView, *, at: float, width: int, signs: Signs, is_last: bool) -> Iterator[Line]:
    guide, rail = signs.guides[is_last], signs.rails[is_last]
    names = [len(name) for name in view.stages]
    name = printable(stage.name)
    if width >= _WIDE:
        name = name.ljust(max(names))
    style = _STYLES[stage.state]
    head = [Span(guide, "dim"), Span(f"{signs.marks[stage.state]} {name}", style)]
    for part in state_words(stage, at, is_over=view.is_over):
        head += [Span(_GAP), part]
    yield Line(tuple(head), is_headline=True)
    if stage.error:
        for text in wrapped(printable(stage.error), width=max(1, width - len(rail))).splitlines():
            yield Line((Span(rail, "dim"), Span(text, style)))
    if stage.state is State.RUNNING and stage.pace is not None:
        room = width - len(rail)
        for parts in (_bar(stage, room, signs), *_groups(stage, view, at)):
            for line in _flow(parts, room):
                yield Line((Span(rail, "dim"), *line))


def state_words(stage: StageView, at: float, *, is_over: bool) -> Iterator[Span]:
    """Yield what the state of a stage comes to, in words."""
    if stage.state is State.SKIPPED:
        yield Span("up to date", "green")
    elif stage.state is State.WAITING:
        yield Span("not begun" if is_over else "waiting", "dim")
    elif stage.state is not State.RUNNING:
        word = "in" if stage.state is State.DONE else "after"
        took = "" if stage.seconds is None else f" {word} {duration(stage.seconds)}"
        yield Span(f"{stage.state}{took}", _STYLES[stage.state])
    else:
        yield Span(f"{100 * stage.done // stage.total}%" if stage.total else "begins", "bold")
        remaining = stage.remaining_seconds(at)
        if remaining is not None:
            yield Span(f"ETA {duration(remaining)}")
        if isinstance(validated := stage.figures.get("validated"), int | float):
            yield Span(f"validating {100 * validated:.0f}%", "cyan")


def _bar(stage: StageView, room: int, signs: Signs) -> list[list[Span]]:
    """Return the strip of the chunks of the epoch, or, of a stage that has none, of all its work."""
    if stage.chunks is None:
        done, total, unit, label = stage.done, stage.total, stage.unit, ""
    else:
        _, done, total = stage.chunks
        unit, label = "chunks", f"{epoch_words(stage)}{_GAP}"
    if not total:
        return [[Span(f"{done} {printable(unit)}")]]
    counted = f" {done}/{total}" + (f" {printable(unit)}" if room >= _WIDE or stage.chunks is None else "")
    least, most = _STRIP_CELLS
    cells = min(room - len(label) - len(counted), max(least, total) if stage.chunks else most, most)
    if cells < least:
        return [[Span(text)] for text in (label.strip(), counted.strip()) if text]
    return [[Span(label), *strip(done, total, cells=cells, signs=signs), Span(counted)]]


def epoch_words(stage: StageView) -> str:
    """Return which epoch is trained, counted as people do: unlike a number, "3rd" cannot be taken to count from 0."""
    assert stage.chunks is not None
    number = stage.chunks.epoch + 1
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    total = stage.figures.get("num_epochs")
    return f"{number}{ending} of {total} epochs" if total else f"{number}{ending} epoch"


def _groups(stage: StageView, view: RunView, at: float) -> Iterator[list[list[Span]]]:
    """Yield what else is told of a stage at work, in groups that begin on a line of their own."""
    assert stage.pace is not None
    told, unit = stage.figures, printable(stage.unit)
    speed = [f"{stage.pace.rate:.3g} {unit}/s"] if stage.pace.rate else []
    if stage.chunks is not None:
        speed = [f"step {stage.done}/{stage.total}", *speed]
    yield _parts([*speed, *_figures(told, "images_per_second")])
    yield _parts(_figures(told, "loss", "lr", "gradient_norm"))
    yield list(_validation(stage, view))
    others = {name: value for name, value in told.items() if name not in PLACED and not name.startswith("loss_")}
    yield _parts(_figures(others, *others))
    yield _parts([*_checkpoint(stage, at), *_gpu(told)])


def _validation(stage: StageView, view: RunView) -> Iterator[list[Span]]:
    """Yield the figures of the last validation beside their targets; of one without targets the first three."""
    minima: dict[str, float] = {}
    for target in view.targets:
        minima.setdefault(target.metric, target.minimum)
    aims = {name: minimum for name, minimum in minima.items() if name in stage.validation}
    for name in list(aims) or list(stage.validation)[:3]:
        value, minimum = stage.validation[name], aims.get(name)
        if minimum is None:
            yield [Span(f"{printable(name)} {value:.4f}")]
        elif value >= minimum:
            yield [Span(f"{printable(name)} {value:.4f}", "green"), Span(f" (target {minimum:g} met)", "green")]
        else:
            yield [Span(f"{printable(name)} {value:.4f}", "yellow"), Span(f" (target {minimum:g})", "dim")]


def _checkpoint(stage: StageView, at: float) -> Iterator[str]:
    if stage.chunks is not None:
        age = 0.0 if stage.checkpoint_at is None else max(0.0, at - stage.checkpoint_at)
        words = f"{age:.0f}s" if age < 10 else duration(age)
        yield "no checkpoint yet" if stage.checkpoint_at is None else f"checkpoint {words} ago"


def _gpu(told: Mapping[str, object]) -> Iterator[str]:
    if isinstance(memory := told.get("gpu_memory_gb"), int | float):
        yield f"GPU memory {memory:.1f} GB"
    if isinstance(use := told.get("gpu_use"), int | float):
        yield f"GPU use {100 * use:.0f}%"


def _figures(told: Mapping[str, object], *names: str) -> list[str]:
    return [printable(figures({name: told[name]})) for name in names if name in told]


def _parts(texts: Sequence[str]) -> list[list[Span]]:
    return [[Span(text)] for text in texts]


def _flow(parts: Sequence[Sequence[Span]], room: int) -> Iterator[list[Span]]:
    """Yield lines of as many parts as have room beside each other; a part is never broken."""
    line: list[Span] = []
    for part in parts:
        if line and _length(line) + len(_GAP) + _length(part) > room:
            yield line
            line = []
        line += [Span(_GAP), *part] if line else part
    if line:
        yield line


def _length(spans: Sequence[Span]) -> int:
    return sum(len(span.text) for span in spans)


def _cut(spans: Sequence[Span], room: int) -> list[Span]:
    cut: list[Span] = []
    for span in spans:
        room_left = max(0, room - _length(cut))
        if room_left:
            cut.append(Span(span.text[:room_left], span.style))
    return cut
