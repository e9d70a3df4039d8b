"""Debian's Chromium for tests: pages are opened in it as a person would see them, and all that they did is noted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing that a page or the browser itself asks for can leave this machine.
_FLAGS = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",)
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  window.noteViolation(`${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`.trim()), true);
"""
_RUN_AXE = """
async () => (await axe.run(document, {resultTypes: ["violations"], preload: false})).violations.flatMap((rule) =>
  rule.nodes.map((node) => [rule.impact, `${rule.id}: ${rule.help}: ${node.target.join(" ")}: ${node.html}`]))
"""


@dataclass(frozen=True)
class Visit:
    """A page that is open, and what it has done so far; addresses within the page (data:, blob:) are no requests."""

    page: Page
    console_errors: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        """Return all that no page of ours may do: errors of console and scripts, breaches of its policy, dialogs."""
        return [*self.console_errors, *self.page_errors, *self.violations, *self.dialogs]

    def requests_beside(self, *allowed: str) -> list[str]:
        """Return the addresses that were asked for and begin with none of `allowed`."""
        return [address for address in self.requests if not address.startswith(allowed)]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width


class Open(Protocol):
    """What opens an address in a context of its own: no cookies, no cache, no storage of another page."""

    def __call__(
        self,
        address: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        media: Literal["screen", "print"] = "screen",
        width: int = 1200,
    ) -> Visit:
        """Open `address`."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium that is installed, by its name; tests that need one are skipped where there is none.

    As long as it runs, Playwright holds the event loop of this thread: `asyncio.run` is refused.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed; Debian and Ubuntu: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="install the extra `dev`, which has Playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


@contextmanager
def pages(browser: Browser) -> Iterator[Open]:
    """Give what opens pages, and close them in the end."""

    def open_page(
        address: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        media: Literal["screen", "print"] = "screen",
        width: int = 1200,
    ) -> Visit:
        # Findings about contrast are those of a page at rest, so nothing is to move.
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.emulate_media(media=media, color_scheme=scheme)
        visit = Visit(page)
        _listen(visit)
        page.goto(address)
        return visit

    try:
        yield open_page
    finally:
        for context in browser.contexts:
            context.close()


def _listen(visit: Visit) -> None:
    """Note what the page of `visit` does from now on."""
    page = visit.page
    page.on("console", lambda told: visit.console_errors.extend([told.text] if told.type == "error" else []))
    page.on("pageerror", lambda error: visit.page_errors.append(str(error)))
    page.on("dialog", lambda dialog: _dismiss(visit, dialog))
    page.on("request", lambda asked: _note_request(visit, asked.url))
    page.on("websocket", lambda socket: _note_request(visit, socket.url))
    page.expose_function("noteViolation", lambda words: visit.violations.extend([words]))
    page.add_init_script(_TELL_VIOLATIONS)


def _dismiss(visit: Visit, dialog: Dialog) -> None:
    """Note what a page wants to tell or to ask, and go on."""
    visit.dialogs.append(dialog.message)
    dialog.dismiss()


def _note_request(visit: Visit, address: str) -> None:
    """Note an address, unless it is a part of the page itself."""
    if not address.startswith(("data:", "blob:")):
        visit.requests.append(address)


def axe(page: Page) -> dict[str, list[str]]:
    """Return what axe-core finds by impact (critical, serious, moderate, minor): the rule, what it asks for, and where.

    It comes in by the debugging protocol, which a page's policy does not concern: the page is tested as users get it.
    """
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for impact, words in page.evaluate(_RUN_AXE):
        found.setdefault(impact, []).append(words)
    return found


def barriers(page: Page) -> list[str]:
    """Return those findings of axe-core that keep people out: the critical and the serious ones."""
    found = axe(page)
    return [*found.get("critical", ()), *found.get("serious", ())]
