"""A page that is open while things happen: looked away from, with a log that is gone, a new run, an old answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import live_page
import pytest
from browser import Open, Visit, chromium, pages
from live_page import Author, Served, wait_for_id, wait_for_panel, wait_for_state

from pipeline.events import Kind
from pipeline.workspace import Workspace

shared, served, author = live_page.shared, live_page.served, live_page.author


@pytest.fixture(scope="module")
def open_page() -> Iterator[Open]:
    """What opens pages, in one browser for all of these tests."""
    with chromium() as browser, pages(browser) as opening:
        yield opening


def _turn_away(visit: Visit, is_hidden: str) -> None:
    """Let the page think that its tab is behind others, or is shown again."""
    hide = f"Object.defineProperty(document, 'hidden', {{value: {is_hidden}, configurable: true}});"
    visit.page.evaluate(f"{hide}document.dispatchEvent(new Event('visibilitychange'))")


def test_a_log_that_is_begun_anew_makes_the_page_start_over(open_page: Open, served: Served, author: Author) -> None:
    """As after `reset all`: nothing of the old log is left on it."""
    author.begin("small-11111111")
    visit = open_page(served.page("/"))
    visit.page.get_by_text("small-11111111").wait_for()
    author.path.unlink()
    Author(author.path.parent.parent).begin("small-22222222")
    visit.page.get_by_text("small-22222222").wait_for()
    assert visit.page.get_by_text("small-11111111").count() == 0


def test_who_looks_away_asks_for_nothing_and_catches_up(open_page: Open, served: Served, author: Author) -> None:
    """The connection is closed while the page is hidden; its run may have ended meanwhile, and another one begun."""
    author.begin()
    author.tell(Kind.STAGE_STARTED, "numbers", action="run")
    with Workspace.at(author.path.parent.parent).locked():
        visit = open_page(served.page("/runs/small-12345678"))
        wait_for_state(visit, "live")
        visit.page.locator("#sections[aria-busy=false]").wait_for()
        visit.page.locator('[data-stage="numbers"].is-running').wait_for()
        _turn_away(visit, "true")
        wait_for_state(visit, "paused")
        asked = len(visit.requests)
        begin = author.ends[-1]
        author.tell(Kind.INFO, "numbers", text="meanwhile")
        end = author.tell(Kind.INTERRUPTED, "numbers", signal=2, where="number 2")
        author.begin("small-87654321")
        with served.stream(f"?from={begin}") as messages:  # by now all others would have been told
            while next(messages).id != str(author.ends[-1]):
                pass
        # Whatever would come has come by then; where nothing does, it makes no difference how long that is.
        visit.page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
        assert visit.page.evaluate("window.pipelineEvents.ids") == []
        assert len(visit.requests) == asked
        _turn_away(visit, "false")
        assert wait_for_id(visit, author.ends[-1]) == author.ends[-3:]
        wait_for_panel(visit, end)
        assert visit.page.locator('[data-stage="numbers"].is-interrupted').count() == 1
        visit.page.get_by_role("heading", name="Interrupted", exact=True).wait_for()


def test_a_log_that_cannot_be_read_is_told_until_it_can(open_page: Open, served: Served, author: Author) -> None:
    """The page says so in a place of its own, which no age of the last event takes."""
    author.begin()
    visit = open_page(served.page("/runs/small-12345678"))
    wait_for_state(visit, "live")
    author.tell(Kind.INFO, "numbers", text="so that there is an age")
    wait_for_id(visit, author.ends[-1])
    hidden = author.path.rename(author.path.with_name("hidden"))
    author.path.mkdir()
    try:
        wait_for_state(visit, "log unreadable")
        assert "events.jsonl is no regular file" in visit.page.locator("#trouble").inner_text()
        assert visit.page.locator("#age").inner_text().startswith("last event ")
        late = open_page(served.page("/"))
        assert "events.jsonl is no regular file" in late.page.locator("#trouble").inner_text()
    finally:
        author.path.rmdir()
        hidden.rename(author.path)
    for each in (visit, late):
        wait_for_state(each, "live")
        assert not each.page.locator("#trouble").is_visible()


def test_a_new_run_on_top_leaves_the_keyboard_where_it_was(open_page: Open, served: Served, author: Author) -> None:
    """The link that has the focus still leads to the same run; so it does when that run is started again."""
    author.begin("small-11111111")
    author.begin("small-22222222")
    visit = open_page(served.page("/"))
    wait_for_state(visit, "live")
    rows = "(rows) => rows.map((row) => row.dataset.run)"
    for name, names in (("33333333", ["33333333", "22222222", "11111111"]), ("11111111", ["11111111", "33333333"])):
        link = visit.page.locator('a[href="/runs/small-11111111"]')
        link.focus()
        author.begin(f"small-{name}")
        visit.page.locator(f'tbody tr:first-child[data-run="small-{name}"]').wait_for()
        shown = [each.removeprefix("small-") for each in visit.page.eval_on_selector_all("tr[data-run]", rows)]
        assert shown[: len(names)] == names
        assert link.evaluate("(element) => element === document.activeElement")
    assert visit.complaints == []


def test_an_answer_that_is_out_of_date_is_asked_for_again(open_page: Open, served: Served, author: Author) -> None:
    """Two things may happen so soon after each other that the second is not looked at yet, and nothing follows."""
    author.begin("small-11111111")
    visit = open_page(served.page("/"))
    wait_for_state(visit, "live")
    answers = [json.dumps({"html": "<p>how it was before</p>", "outdated": 0.1})]
    visit.page.route("**/overview", lambda route: route.fulfill(body=answers.pop()) if answers else route.continue_())
    author.tell(Kind.WARNING, "numbers", text="one event, which asks for one answer")
    visit.page.get_by_text("how it was before").wait_for()
    visit.page.locator('tr[data-run="small-11111111"]').wait_for()
    assert visit.page.get_by_text("how it was before").count() == 0
