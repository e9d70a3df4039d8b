"""What looks at pages sees everything that a page of ours must not do."""

from __future__ import annotations

from pathlib import Path

from browser import Open, axe, barriers

GOOD = "<!doctype html><html lang=en><title>t</title><main><h1>all is well</h1></main>"
POLICY = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src 'self' 'unsafe-inline'\">"


def written(tmp_path: Path, text: str) -> str:
    """Write a page and return its address."""
    path = tmp_path / "page.html"
    path.write_text(text)
    return path.as_uri()


def test_a_good_page_has_nothing_to_tell(visit: Open, tmp_path: Path) -> None:
    """One request, its own; no complaint; no finding."""
    address = written(tmp_path, GOOD)
    seen = visit(address)
    assert (seen.complaints, seen.requests, seen.overflow(), axe(seen.page)) == ([], [address], 0, {})


def test_errors_of_a_page_are_noted(visit: Open, tmp_path: Path) -> None:
    """What it writes to the console as an error, what its scripts raise, and what it asks people."""
    scripts = "console.error('said'); console.log('told'); alert('asked')", "throw Error('raised')"
    seen = visit(written(tmp_path, GOOD + "".join(f"<script>{script}</script>" for script in scripts)))
    assert seen.complaints == ["said", "raised", "asked"]


def test_breaches_of_the_policy_are_noted(visit: Open, tmp_path: Path) -> None:
    """A style and a picture that the policy forbids; scripts that look on are not forbidden by it."""
    address = written(tmp_path, f"{POLICY}{GOOD}<style>h1 {{}}</style><img alt=x src=http://127.0.0.1:9/x.png>")
    seen = visit(address)
    seen.page.wait_for_function("document.readyState == 'complete'")
    assert sorted(text.split(":")[0] for text in seen.violations) == ["img-src", "style-src-elem"]
    assert len(seen.console_errors) == 2
    assert barriers(seen.page) == []


def test_every_request_is_noted(visit: Open, tmp_path: Path) -> None:
    """A picture from elsewhere is one, a picture within the page is none; nothing leaves this machine."""
    text = f"{GOOD}<img alt=x src=http://example.invalid/a.png><img alt=x src='data:image/gif;base64,R0lGODlh'>"
    address = written(tmp_path, text)
    seen = visit(address)
    assert seen.requests_beside(address) == ["http://example.invalid/a.png"]
    assert "ERR_NAME_NOT_RESOLVED" in seen.console_errors[0]


def test_findings_are_told_by_impact(visit: Open, tmp_path: Path) -> None:
    """A picture without words is critical, pale words are serious: both are barriers, and where they are is said."""
    seen = visit(written(tmp_path, f"{GOOD}<img id=dumb src=data:,><p id=pale style='color:#eee'>pale</p>"))
    found = axe(seen.page)
    assert [text.split(":")[0] for text in found["critical"]] == ["image-alt"]
    assert "#dumb" in found["critical"][0]
    assert any("#pale" in text for text in found["serious"])
    assert set(barriers(seen.page)) == {*found["critical"], *found["serious"]}


def test_a_page_is_seen_as_asked_for(visit: Open, tmp_path: Path) -> None:
    """Dark, in print, and at a width; each visit has a context of its own."""
    address = written(tmp_path, f"{GOOD}<div style='width: 500px'>wide</div>")
    dark = visit(address, scheme="dark", width=400)
    printed = visit(address, media="print")
    assert dark.overflow() > 100
    assert dark.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches && matchMedia('screen').matches")
    assert printed.page.evaluate("matchMedia('print').matches && matchMedia('(prefers-color-scheme: light)').matches")
    dark.page.evaluate("document.cookie = 'a=b'")
    assert dark.page.context != printed.page.context
