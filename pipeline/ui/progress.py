"""How a run stands, as a page shows it: the same words and figures as on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.picture import PLACED, epoch_words, state_words, strip
from pipeline.reporting import figures
from pipeline.run_view import RunView, StageView, State
from pipeline.tables import duration

Mood = Literal["", "good", "open"]
_MAX_CELLS = 60  # of a strip; more are not told apart
_MAX_CHARACTERS = 2000  # of a text; a page is sent again and again, and nobody reads more than that on it
_MAX_WARNINGS = 50
_SHOWN_CURVES = ("loss", "lr", "gradient_norm")
_NAMES = {"lr": "learning rate", "images_per_second": "images/s"}
_MARKS = {"done": "✓", "skipped": "✓", "running": "▶", "failed": "✗", "interrupted": "‖", "killed": "✗", "waiting": "·"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with its name; `since` is the moment from which a page counts seconds that go on by themselves."""

    name: str
    value: str
    mood: Mood = ""
    note: str = ""
    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class Strip:
    """How many parts of an epoch are done: `cells` are "done", "current" or "open"."""

    label: str
    text: str
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StagePanel:
    """A stage: `share` is the part that is done, 0 to 100; None where that is not known or makes no sense."""

    name: str
    state: str
    mark: str
    words: str
    share: float | None = None
    error: str = ""
    strip: Strip | None = None
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunPanel:
    """A run as it stands.

    Attributes:
        title: its newest state in a few words, for the tab of a browser.
        warnings: the newest ones, of `num_warnings`.
        trouble: why no stage can be shown; empty where they can.
    """

    run: str
    title: str
    stages: tuple[StagePanel, ...] = ()
    warnings: tuple[str, ...] = ()
    num_warnings: int = 0
    trouble: str = ""


def panel_of(view: RunView, *, at: float, is_at_work: bool) -> RunPanel:
    """Return the run as it stands `at` that moment; what looks at work without a process was killed."""
    try:
        stages = tuple(_stage(stage, view, at=at, is_at_work=is_at_work) for stage in view.stages.values())
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        # The log may have been written by anybody; what cannot be drawn of one run takes no page from the others.
        return RunPanel(run=view.run, title="cannot be shown", trouble=cut(f"This run cannot be shown: {error}"))
    return RunPanel(
        run=view.run,
        title=_title(stages),
        stages=stages,
        warnings=tuple(map(cut, view.warnings[-_MAX_WARNINGS:])),
        num_warnings=len(view.warnings),
    )


def cut(text: str) -> str:
    """Return a text as far as a page shows it, with how much was left out."""
    left_out = len(text) - _MAX_CHARACTERS
    return text if left_out <= 0 else f"{text[:_MAX_CHARACTERS]}… ({left_out:,} more characters are in the log)"


def _title(stages: Sequence[StagePanel]) -> str:
    """Say how the run stands: the last stage at work, or else what broke off, or that all is done."""
    for state in ("running", "failed", "killed", "interrupted"):
        if found := [stage for stage in stages if stage.state == state]:
            return f"{found[-1].name}: {found[-1].words}"
    if stages and all(stage.state in ("done", "skipped") for stage in stages):
        return "done"
    return "begins" if stages else "nothing has begun"


def _stage(stage: StageView, view: RunView, *, at: float, is_at_work: bool) -> StagePanel:
    state = str(stage.state)
    if stage.state is State.RUNNING and not is_at_work:
        state, words = "killed", "killed: the log ends here"
    else:
        is_over = view.is_over or not is_at_work
        words = ", ".join(span.text for span in state_words(stage, at, is_over=is_over))
    is_running = state == State.RUNNING
    return StagePanel(
        name=stage.name,
        state=state,
        mark=_MARKS.get(state, "·"),
        words=words,
        share=round(100 * stage.done / stage.total, 1) if stage.total and state in ("running", "killed") else None,
        error=cut(stage.error),
        strip=_strip(stage, is_running=is_running),
        figures=tuple(_figures(stage, view, at=at)) if stage.pace is not None and state != State.DONE else (),
    )


def _strip(stage: StageView, *, is_running: bool) -> Strip | None:
    """Return the chunks of the epoch in training."""
    if stage.chunks is None or not stage.chunks.total or stage.state is State.DONE:
        return None
    _, done, total = stage.chunks
    names = {"green": "done", "bold cyan": "current", "dim": "open"}
    spans = strip(done, total, cells=min(total, _MAX_CELLS), is_at_work=is_running)
    cells = tuple(names[span.style] for span in spans for _ in span.text)
    return Strip(label=epoch_words(stage), text=f"{done} of {total} chunks", cells=cells)


def _figures(stage: StageView, view: RunView, *, at: float) -> Iterator[Figure]:
    assert stage.pace is not None
    told = stage.figures
    yield Figure(name=stage.unit, value=f"{stage.done:,} of {stage.total:,}" if stage.total else f"{stage.done:,}")
    if stage.pace.rate:
        yield Figure(name=f"{stage.unit} a second", value=f"{stage.pace.rate:.3g}")
    yield from _named(told, "images_per_second")
    yield from _named(told, *_SHOWN_CURVES)
    yield from _validation(stage, view)
    yield from _named(told, *(name for name in told if name not in PLACED and not name.startswith("loss_")))
    yield from _checkpoint(stage, at)
    yield from _gpu(told)


def _named(told: Mapping[str, Any], *names: str) -> Iterator[Figure]:
    for name in names:
        if told.get(name) is not None:
            words = _NAMES.get(name, name.replace("_", " "))
            yield Figure(name=words, value=_value(name, told[name]))


def _value(name: str, value: Any) -> str:
    """Return a figure as it stands on a terminal, without its name."""
    words = figures({name: value})
    named = name.replace("_per_second", "/s").replace("_", " ")
    return cut(words.removeprefix(named).strip() or words)


def _validation(stage: StageView, view: RunView) -> Iterator[Figure]:
    """Yield the figures of the last validation, beside their targets where they have some."""
    minima: dict[str, float] = {}
    for target in view.targets:
        minima.setdefault(target.metric, target.minimum)
    for name in [name for name in minima if name in stage.validation] or list(stage.validation)[:3]:
        value, minimum = stage.validation[name], minima.get(name)
        mood: Mood = "" if minimum is None else "good" if value >= minimum else "open"
        note = "" if minimum is None else f"target {minimum:g}{' met' if value >= minimum else ''}"
        yield Figure(name=f"validation {name.replace('_', ' ')}", value=f"{value:.4f}", mood=mood, note=note)


def _checkpoint(stage: StageView, at: float) -> Iterator[Figure]:
    if stage.chunks is None:
        return
    if stage.checkpoint_at is None:
        yield Figure(name="checkpoint", value="none yet")
    else:
        age = max(0.0, at - stage.checkpoint_at)
        yield Figure(name="checkpoint age", value=duration(age), since=stage.checkpoint_at)


def _gpu(told: Mapping[str, Any]) -> Iterator[Figure]:
    if isinstance(memory := told.get("gpu_memory_gb"), int | float):
        yield Figure(name="GPU memory", value=f"{memory:.1f} GB")
    if isinstance(use := told.get("gpu_use"), int | float):
        yield Figure(name="GPU use", value=f"{100 * use:.0f}%")
