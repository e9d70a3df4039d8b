"""Reports as a person sees them: opened as files in Chromium, light and dark, narrow and wide, and printed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import test_compare
import test_report
import tiny_command_line
from browser import Open, Visit, barriers
from event_logs import killed_and_stopped
from playwright.sync_api import Page
from test_report_page import HOSTILE, content

from pipeline.cli import main
from pipeline.events import Kind
from pipeline.report.content import Section, charts_of
from pipeline.report.page import report_page
from pipeline.report.parts import MatrixBlock, TableBlock
from pipeline.report.renderer import draw

finished, two, reported = tiny_command_line.finished, test_compare.two, test_report.reported
Scheme = Literal["light", "dark"]

# nowhere to break a line, letters from right to left, and a sign that turns the order of what follows
ENDLESS = f"results/{'w' * 300}/{'م' * 40}\u202egpj.exe"
PAGES = ("real", "compared", "hostile", "endless", "undrawn")


def made_up(path: Path, name: str, *, is_drawn: bool = True) -> Path:
    """Write a report with everything in it and `name` for every word."""
    log = killed_and_stopped()
    log.now -= 10
    metrics: dict[str, Any] = {name: 1.0, f"loss_{name}": 2.0, f"validation_{name}": 3.0}
    log.tell(Kind.METRICS, "training", step=1, **metrics)
    made = content(name=name, log=log)
    charts = charts_of(made.sections)
    pictures, trouble = draw(charts) if is_drawn else ([""] * len(charts), f"no memory for {name}")
    path.write_bytes(report_page(made, pictures=pictures, trouble=trouble))
    return path


@pytest.fixture(scope="module")
def addresses(reported: Path, two: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the addresses of a real report, of a comparison of real runs, and of reports with the worst of words."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_PIPELINE", tiny_command_line.SMALL)
        patch.setattr(sys, "path", sys.path.copy())
        assert main(["compare", *test_compare.names_of(two), "--workspace", str(two)]) == 0
    (compared,) = two.glob("results/*/compare*.html")
    paths = {
        "real": test_report.report_of(reported),
        "compared": compared,
        "hostile": made_up(folder / "hostile.html", HOSTILE),
        "endless": made_up(folder / "endless.html", ENDLESS),
        "undrawn": made_up(folder / "undrawn.html", HOSTILE, is_drawn=False),
    }
    return {name: path.as_uri() for name, path in paths.items()}


def unfold(page: Page) -> None:
    """Open every folded table."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def sees(page: Page, selector: str) -> list[bool]:
    """Return of every element that `selector` finds whether it is to be seen, and has a size."""
    found: list[bool] = page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((one) =>
          one.checkVisibility({contentVisibilityAuto: true}) && one.getBoundingClientRect().height > 0)""",
        selector,
    )
    return found


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_for_nothing_and_complains_of_nothing(name: str, visit: Open, addresses: dict[str, str]) -> None:
    """One request, for the file; no error, no breach of the policy; no script, though words bid for one."""
    seen = visit(addresses[name])
    for summary in seen.page.locator("summary").all():
        summary.click()
    seen.page.wait_for_load_state("networkidle")
    assert (seen.complaints, seen.requests) == ([], [addresses[name]])
    assert seen.page.evaluate("document.scripts.length + document.images.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["real", "compared", "hostile"])
def test_page_keeps_nobody_out(name: str, scheme: Scheme, visit: Open, addresses: dict[str, str]) -> None:
    """Nothing critical or serious for axe-core, with all tables unfolded."""
    page = visit(addresses[name], scheme=scheme).page
    unfold(page)
    assert barriers(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_at_the_side(name: str, visit: Open, addresses: dict[str, str]) -> None:
    """On a telephone and on a wide screen, with tables folded and unfolded: what is wide scrolls in its own frame."""
    for width in (400, 1200):
        seen = visit(addresses[name], width=width)
        folded = seen.overflow()
        unfold(seen.page)
        assert (folded, seen.overflow()) == (0, 0), width


def test_dark_is_dark(visit: Open, addresses: dict[str, str]) -> None:
    """The ground of the page, and the ink of charts, follow the colour scheme."""
    grounds, inks = [], []
    schemes: tuple[Scheme, ...] = ("light", "dark")
    for scheme in schemes:
        page = visit(addresses["real"], scheme=scheme).page
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        inks.append(page.evaluate("getComputedStyle(document.querySelector('figure .f-ink')).fill"))
    assert grounds == ["rgb(246, 247, 249)", "rgb(16, 21, 28)"]
    assert inks == ["rgb(23, 32, 43)", "rgb(231, 236, 242)"]


def test_verdict_is_the_first_thing_to_see(visit: Open, addresses: dict[str, str]) -> None:
    """On a narrow screen and a wide one it is in view without scrolling, above all else of the page."""
    for width in (400, 1200):
        page = visit(addresses["real"], width=width).page
        verdict, first = page.locator(".verdict").bounding_box(), page.locator("section").first.bounding_box()
        assert verdict and first
        assert verdict["y"] < 450
        assert verdict["y"] + verdict["height"] < first["y"]
        assert page.locator(".verdict h2").inner_text() == "2 of 2 targets missed"


@pytest.mark.parametrize("name", PAGES)
def test_every_chart_has_a_table_that_unfolds(name: str, visit: Open, addresses: dict[str, str]) -> None:
    """Folded below a chart, open where there is none; a click or the keyboard shows it, with at least one row."""
    page = visit(addresses[name]).page
    figures = page.locator("figure").all()
    assert len(figures) > 4
    for figure in figures:
        assert figure.locator("svg").count() == (name != "undrawn")
        table = figure.locator("table")
        assert table.is_visible() == (name == "undrawn")
        if name != "undrawn":
            figure.locator("summary").focus()
            page.keyboard.press("Enter")
        assert table.is_visible()
        assert table.locator("tbody tr").count() > 0


def test_the_way_past_the_navigation_works(visit: Open, addresses: dict[str, str]) -> None:
    """The first stop of the tabulator key is the link to the content, hidden until then."""
    page = visit(addresses["real"]).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") > 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def printed(visit: Open, address: str) -> Visit:
    """Open a page as it would be printed, on a sheet as wide as A4 between its margins, in a browser that is dark."""
    return visit(address, media="print", scheme="dark", width=718)


@pytest.mark.parametrize("name", PAGES)
def test_print_shows_all_but_what_a_chart_tells(name: str, visit: Open, addresses: dict[str, str]) -> None:
    """Folded sections are printed whole; tables of charts only where there is no chart; nothing is cut off."""
    page = printed(visit, addresses[name]).page
    folded = sees(page, ".stack > details table")
    assert folded and all(folded)
    assert set(sees(page, "figure table")) == {name == "undrawn"}
    assert not any(sees(page, "nav, nav a"))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    wide = page.evaluate(
        """[...document.querySelectorAll("main table, main figure svg, main li")].filter((one) =>
          one.getBoundingClientRect().right > innerWidth).map((one) => one.closest("[aria-label]")?.ariaLabel)"""
    )
    assert wide == []


def test_print_breaks_no_number_and_no_name_that_has_room(visit: Open, tmp_path: Path) -> None:
    """Neither the counts and classes of a matrix, which stays on one sheet, nor names beside long values."""
    classes = ("triangle", "quadrangle", "pentagon", "star", "bowtie", "circle", "arc", "spiral", "zigzag", "freeform")
    names = (*classes, "hexagon", "(not found)")
    counts = tuple(tuple(156 if row == column else 10 for column in names) for row in names)
    matrix = MatrixBlock(
        title="Matrix", row_title="is", column_title="seems", row_names=names, column_names=names, counts=counts
    )
    rows = (
        ("data_generation.validation_size", 200, "profile standard"),
        ("runtime.checkpoint_interval_seconds", f"[{', '.join(classes * 3)}]", "default"),
    )
    table = TableBlock(title="All settings", header=("setting", "value", "from"), rows=rows)
    digests = TableBlock(title="Files", header=("file", "xxh3"), rows=((ENDLESS, "0123456789abcdef" * 2),))
    made = replace(content(), sections=(Section(title="Tables", items=(table, digests, matrix)),))
    (tmp_path / "report.html").write_bytes(report_page(made, pictures=()))
    page = printed(visit, (tmp_path / "report.html").as_uri()).page
    broken = page.evaluate(
        """[...document.querySelectorAll("section th, section td")].flatMap((cell) => {
          const text = cell.textContent, range = document.createRange();
          return [...text.matchAll(/\\S+/g)].filter((word) => {
            range.setStart(cell.firstChild.firstChild ?? cell.firstChild, word.index);
            range.setEnd(cell.firstChild.firstChild ?? cell.firstChild, word.index + word[0].length);
            return new Set([...range.getClientRects()].map((one) => one.top)).size > 1;
          }).map((word) => word[0]);
        })"""
    )
    assert broken == [ENDLESS]
    assert page.evaluate("getComputedStyle(document.querySelector('.matrix')).breakInside") == "avoid"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_print_shows_the_table_that_was_unfolded(visit: Open, addresses: dict[str, str]) -> None:
    """Whoever wants a chart's table on paper opens it first."""
    page = printed(visit, addresses["real"]).page
    page.evaluate("document.querySelector('figure details').open = true")
    shown = sees(page, "figure table")
    assert (shown[0], any(shown[1:])) == (True, False)
