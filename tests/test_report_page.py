"""The page itself: it needs nothing else, lets nothing in, and can be read by everybody."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from event_logs import RUN, MadeUpLog, killed_and_stopped

from pipeline import secrets
from pipeline.events import Kind
from pipeline.records import Artifact, StageRecord, Target
from pipeline.report.content import Content, Section, charts_of, content_of
from pipeline.report.history import read_history
from pipeline.report.page import report_page
from pipeline.report.parts import (
    Box,
    LinesBlock,
    MatrixBlock,
    Picture,
    PicturesBlock,
    ReportPart,
    Series,
    TableBlock,
    encode_image,
)
from pipeline.report.renderer import draw
from pipeline.report.sheet import RunSheet, stage_of

MARKUP = "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>'\"{{ 7 * 7 }}&lt;"
# A colour of terminals, a line feed of printers, the end of a text in C, half a letter, and what is no letter at all.
ILLEGIBLE = "\x1b[31mred\x0b\0\x7f\x85\ud800\ufffe"
HOSTILE = f"{MARKUP}{ILLEGIBLE}"
STAGES = ("data_generation", "training", "evaluation")
_VOID = {"meta", "link", "br", "img", "input", "hr"}


def record_of(stage: str, *, targets: tuple[Target, ...] = (), name: str = "x", **given: Any) -> StageRecord:
    """Return the record of a stage with `name` in every place where a word may stand."""
    known: dict[str, Any] = {
        "stage": stage,
        "stage_version": 1,
        "run": RUN,
        "config_hash": f"hash of {stage}",
        "config": {"label": name},
        "inputs_digest": "digest",
        "inputs": {},
        "artifacts": (Artifact(kind=name, path=f"results/{name}", size=10, xxh3="0" * 32),) * 20,
        "metrics": {},
        "targets": targets,
        "warnings": (f"warning {name}",),
        "code": {},
        "runtime": {"device": name},
        "environment": {"python": "3.11", "host": name, "packages": {name: name}},
        "started_at": "2026-01-01T10:00:00+0000",
        "finished_at": "2026-01-01T10:00:09+0000",
        "duration_seconds": 9.0,
    }
    return StageRecord(**(known | given))


def part_of(name: str = "x", *, num_pictures: int = 2) -> ReportPart:
    """Return what a stage might add, with `name` for every word."""
    box = Box(x=1, y=2, width=30, height=40, label=name, score=0.5, is_right=True)
    picture = Picture(
        name=name,
        caption=name,
        width=64,
        height=64,
        media_type="image/webp",
        image=encode_image(b"0" * 9000),
        truth=(box,),
        found=(box.model_copy(update={"is_right": False}),),
    )
    return ReportPart(
        title=name,
        blocks=(
            TableBlock(title=name, note=name, header=(name, "AP"), rows=((name, 0.5), ("z", None))),
            LinesBlock(
                title=name, x_title=name, y_title=name, series=(Series(name=name, points=((0, 0), (1, 1))),) * 1
            ),
            MatrixBlock(
                title=name,
                row_title=name,
                column_title=name,
                row_names=(name, "b"),
                column_names=(name, "b"),
                counts=((3, 0), (1, 9)),
            ),
            PicturesBlock(title=name, note=name, pictures=(picture,) * num_pictures),
        ),
    )


def content(
    *, name: str = "x", log: MadeUpLog | None = None, value: float | None = 0.9, num_pictures: int = 2
) -> Content:
    """Return a report with everything in it."""
    records = {stage: record_of(stage, name=name) for stage in STAGES}
    records["evaluation"] = record_of(
        "evaluation", name=name, targets=(Target(data_set=name, metric="ap", minimum=0.85, value=value),)
    )
    sheet = RunSheet(
        run=RUN,
        profile=name,
        command=f"pipeline run --set {name}",
        settings={"training.seed": {"value": 3, "origin": name}, name: {"value": [name], "origin": "default"}},
        stages=tuple(stage_of(stage, records[stage]) for stage in STAGES),
    )
    history = read_history((log or killed_and_stopped()).events, runs=dict.fromkeys(STAGES, RUN))
    return content_of(sheet, records, history, [part_of(name, num_pictures=num_pictures)], problems=[name])


@pytest.fixture(scope="module")
def hostile() -> str:
    """Give a page in which every word that comes from outside is hostile, charts drawn."""
    log = killed_and_stopped()
    log.now -= 10
    metrics: dict[str, Any] = {HOSTILE: 1.0, f"loss_{HOSTILE}": 2.0, f"validation_{HOSTILE}": 3.0}
    log.tell(Kind.METRICS, "training", step=1, **metrics)
    made = content(name=HOSTILE, log=log)
    pictures, trouble = draw(charts_of(made.sections))
    assert trouble == ""
    assert all(pictures)
    return report_page(made, pictures=pictures).decode()


@pytest.fixture(scope="module")
def page() -> str:
    """Give a page with everything in it, charts drawn."""
    made = content()
    return report_page(made, pictures=draw(charts_of(made.sections))[0]).decode()


class _Reader(HTMLParser):
    """Reads a page as a browser does: every element with its attributes, and the text in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1] == tag, f"<{self._open[-1]}> is closed by </{tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open[-1], data))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_hostile_words_stay_words(hostile: str) -> None:
    """Names, paths, settings and log entries make no element, no attribute and no expression; they are just shown."""
    reader = _Reader(hostile)
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "base", "form", "link", "foreignobject"}
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    shown = [text for _, text in reader.texts]
    assert sum(MARKUP in text for text in shown) > 20
    assert "49" not in {text.strip() for text in shown}
    assert not set(ILLEGIBLE) - set("[31mred") & set(hostile), "what no page can show is marked"
    assert sum("\ufffd[31mred\ufffd" in text for text in shown) > 20
    inside = [text for tag, text in reader.texts if tag == "text"]
    assert any("alert(1)" in text for text in inside), "the names are in the charts too"


@pytest.mark.parametrize("which", ["page", "hostile"])
def test_page_needs_nothing_and_may_do_nothing(which: str, request: pytest.FixtureRequest) -> None:
    """No script, no style but the one whose digest the policy names, no address but pictures in the page itself."""
    text = request.getfixturevalue(which)
    reader = _Reader(text)
    policy = next(each["content"] for each in reader.attributes("meta") if "http-equiv" in each)
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert len(reader.attributes("style")) == 1
    assert not re.search(r"url\((?!#)|@import", style[1])
    for tag, attributes in reader.elements:
        assert "style" not in attributes, tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            target = attributes.get(name) or "#"
            is_picture = tag == "image" and re.fullmatch(r"data:image/\w+;base64,[\w+/=]*", target)
            assert target.startswith("#") or is_picture, (tag, name, target[:40])


def test_links_lead_somewhere_and_ids_are_unique(page: str) -> None:
    """Every reference inside the page has its element, and no two have the same name."""
    reader = _Reader(page)
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {(attributes.get("href") or "")[1:] for tag, attributes in reader.elements if tag in ("a", "use")}
    wanted |= set(re.findall(r"url\(#([\w-]+)\)", page))
    assert wanted <= set(ids)


def test_page_can_be_read_by_ear(page: str) -> None:
    """Headings in order, tables with heads, pictures with words, a language, and a way past the navigation."""
    reader = _Reader(page)
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert reader.attributes("html")[0]["lang"] == "en"
    for attributes in reader.attributes("th"):
        assert attributes["scope"] in ("col", "row")
    for tag, attributes in reader.elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])
        if attributes.get("tabindex") == "0":
            assert attributes["aria-label"], tag
    labels = [attributes["aria-label"] for _, attributes in reader.elements if attributes.get("role") == "region"]
    titles = {text.strip() for tag, text in reader.texts if tag == "h2"}
    assert not titles & set(labels), "a part of the page and a table in it have names of their own"
    assert all("".join(text for text in re.findall(">([^<]*)<", head)) for head in re.findall("<th.*?</th>", page))
    assert page.index('class="skip"') < page.index("<nav")


def test_every_chart_has_its_table(page: str) -> None:
    """Behind each picture of a chart lies a table with as many cells in each row."""
    figures = re.findall("<figure.*?</figure>", page, re.DOTALL)
    assert len(figures) == len(charts_of(content().sections)) > 6
    for figure in figures:
        assert "<svg" in figure
        rows = re.findall("<tr>(.*?)</tr>", figure.partition("<details")[2], re.DOTALL)
        assert len(rows) > 1
        assert len({len(re.findall("<t[hd]", row)) for row in rows}) == 1


def test_verdict_comes_first(page: str) -> None:
    """Before any section: what came of the run, with value and target."""
    first = page.index("<section")
    assert page.index("Target met") < page.index("0.9000") < page.index("at least 0.85") < first


@pytest.mark.parametrize(
    ("value", "words"), [(0.8, "Target missed"), (None, "could not be measured"), (0.85, "Target met")]
)
def test_verdict_says_what_is_missing(value: float | None, words: str) -> None:
    """Missed by how much, or not measured at all."""
    made = content(value=value)
    text = report_page(made, pictures=[""] * len(charts_of(made.sections))).decode()
    assert words in text


def test_facts_are_told_in_passing() -> None:
    """Time at work, interruptions, and what checkpoints took, as the log has them."""
    log = killed_and_stopped()
    log.start()
    log.work("training", "repair", seconds=None)
    log.tell(Kind.CHECKPOINT, "training", step=10, num_bytes=5, seconds=0.5)
    log.tell(Kind.CHECKPOINT, "training", step=20, num_bytes=5, seconds=1.0)
    log.tell(Kind.STAGE_FINISHED, "training")
    facts = dict(content(log=log).verdict.facts)
    assert facts["checkpoints"] == "2, written in 1.5s"
    assert facts["interruptions"] == "2"
    assert facts["time at work"] == "35s"


def test_page_without_pictures_shows_the_tables() -> None:
    """Where charts could not be drawn the page says why, and their tables are open."""
    made = content()
    text = report_page(made, pictures=[""] * len(charts_of(made.sections)), trouble="no <memory>").decode()
    assert "could not be drawn (no &lt;memory&gt;)" in text
    assert len(re.findall("<details open>", text)) >= len(charts_of(made.sections))


def test_page_with_24_pictures_is_under_2_megabytes() -> None:
    """Each picture is in the page once, though it is shown twice."""
    made = content(num_pictures=24)
    text = report_page(made, pictures=draw(charts_of(made.sections))[0])
    assert len(text) < 2_000_000
    assert text.count(b"data:image/webp") == 24
    assert text.count(b"<use href=") == 24


def test_no_secret_is_in_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a secret come as far as the page, its name stands in its place."""
    monkeypatch.setenv("CANARY", "k4n4ry-of-ours")
    secrets.keep(["CANARY"], {"CANARY": "k4n4ry-of-ours"})
    try:
        made = content(name="k4n4ry-of-ours")
        text = report_page(made, pictures=[""] * len(charts_of(made.sections))).decode()
    finally:
        secrets.keep((), {})
    assert "k4n4ry" not in text
    assert "[secret CANARY]" in text


def _schemes(style: str) -> Iterator[dict[str, str]]:
    """Yield the colours of the light and of the dark scheme."""
    light = dict(re.findall(r"--([\w-]+): (#\w{6})", style.partition("@media")[0]))
    dark = dict(re.findall(r"--([\w-]+): (#\w{6})", style.partition("@media")[2].partition("* {")[0]))
    yield light
    yield light | dark


def _contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2 of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast(page: str) -> None:
    """In light and in dark: text at least 4.5 against its ground, lines of charts 3, as WCAG asks."""
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)
    assert style
    schemes = list(_schemes(style[1]))
    assert schemes[0] != schemes[1]
    for colours in schemes:
        for name in ("ink", "muted", "accent", "good", "bad", "open"):
            for ground in ("card", "page"):
                assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in (*(f"c{number}" for number in range(1, 9)), "bar", "lost", "bad", "accent"):
            assert _contrast(colours[name], colours["card"]) >= 3, name
        for name in ("good", "bad", "open"):
            assert _contrast(colours[name], colours[f"{name}-soft"]) >= 4.5, name


def test_a_dash_stands_below_the_numbers_of_its_column() -> None:
    """Also where no row has one, as of objects of a size that there is none of; text stays at the left."""
    header = ("class", "AP", "AP large", "difference", "note", "missing")
    rows = (("a", None, None, "+0.5", "b", "c"), ("d", 0.5, None, None, None, None))
    made = replace(content(), sections=(Section(title="x", items=(TableBlock(title="x", header=header, rows=rows),)),))
    text = report_page(made, pictures=()).decode()
    (table,) = re.findall(r"<table.*?</table>", text[text.index('<section id="part-1"') :], re.DOTALL)
    at_right = [["number" in kind for kind in re.findall(r"<t[hd]([^>]*)>", each)] for each in table.split("<tr>")[1:]]
    assert at_right == [[False, True, True, True, False, False]] * 3
