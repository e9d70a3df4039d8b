"""Text for people: tables that fit a width, sizes and times in words."""

from __future__ import annotations

import io

import pytest

from pipeline.tables import bar, counted, duration, size, table, text_width, wrapped

ROWS = [
    ("training", "SKIP", "config, inputs and every artifact are as recorded"),
    ("evaluation", "RESUME", "continues from image 7"),
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal, without being one."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_columns_line_up_and_nothing_is_wrapped_without_a_width() -> None:
    """In a pipe each row is one line, however long."""
    assert table(ROWS, width=0).splitlines() == [
        "training    SKIP    config, inputs and every artifact are as recorded",
        "evaluation  RESUME  continues from image 7",
    ]


def test_the_last_column_wraps_below_itself() -> None:
    """At a middling width prose stays in its column."""
    assert table(ROWS, width=50).splitlines() == [
        "training    SKIP    config, inputs and every",
        "                    artifact are as recorded",
        "evaluation  RESUME  continues from image 7",
    ]


def test_a_narrow_table_is_stacked() -> None:
    """Where prose would be squeezed, the cells of a row stand below its first one, with their headings."""
    assert table(ROWS, width=40, header=("stage", "action", "")).splitlines() == [
        "training",
        "  action SKIP  config, inputs and every",
        "  artifact are as recorded",
        "evaluation",
        "  action RESUME  continues from image 7",
    ]


@pytest.mark.parametrize("width", range(20, 120))
def test_no_line_is_wider_than_the_width(width: int) -> None:
    """Whatever the width, text that can be wrapped is."""
    assert max(map(len, table(ROWS, width=width).splitlines())) <= width


def test_words_and_paths_are_never_cut() -> None:
    """A path that is longer than the line stays whole, so that it can be copied."""
    path = "results/standard-686da844/model-final.safetensors"
    assert path in wrapped(f"see {path} there", width=20).splitlines()


def test_a_table_without_rows_is_empty() -> None:
    """Nothing in, nothing out."""
    assert table([], width=80) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0s"), (0.34, "0.3s"), (9.94, "9.9s"), (42.4, "42s"), (59.6, "1m00s"), (185, "3m05s"),
     (3599.7, "1h00m"), (90000, "25h00m")],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    """A time span is told as precisely as one cares."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("num_bytes", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_400_000, "3.4 MB"), (5e15, "5000.0 TB")]
)
def test_sizes_in_words(num_bytes: float, words: str) -> None:
    """Amounts of bytes in decimal units."""
    assert size(num_bytes) == words


def test_nouns_are_counted() -> None:
    """One file, several files."""
    assert [counted(number, "file") for number in (0, 1, 4000)] == ["0 files", "1 file", "4,000 files"]


@pytest.mark.parametrize(("done", "total", "filled"), [(0, 7, 0), (7, 7, 20), (1, 2, 10), (9, 7, 20), (0, 0, 0)])
def test_a_bar_is_filled_by_the_share(done: int, total: int, filled: int) -> None:
    """The bar is always of the same length."""
    assert bar(done, total) == "█" * filled + "░" * (20 - filled)


@pytest.mark.parametrize(
    ("columns", "stream", "width"),
    [("", io.StringIO(), 0), ("40", io.StringIO(), 40), ("40", Terminal(), 40), ("", Terminal(), 80),
     ("0", io.StringIO(), 0), ("wide", io.StringIO(), 0)],
)  # fmt: skip
def test_the_width_is_that_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str, stream: io.StringIO, width: int
) -> None:
    """COLUMNS wins; a pipe has no width."""
    monkeypatch.setenv("COLUMNS", columns)
    assert text_width(stream) == width
