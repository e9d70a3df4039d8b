"""Takes pictures of a page in light and dark, as the documentation shows them.

    python benchmarks/page_pictures.py WORKSPACE/results/RUN/report.html docs/images/report --width 1200 --height 1500
    python benchmarks/page_pictures.py 'http://127.0.0.1:8123/...'       docs/images/live   --width 1120 --height 2400

A page of a run at work is known by the address that `pipeline ui` prints, and its pictures show the moment they are
taken. Needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

_SETTLED = 2000  # ms in which a live page shows what its stream has told
_DRAWN = 120_000  # ms after which its charts must be there, also beside a training that has all cores


def main(address: str, target: str, *, width: int, height: int) -> None:
    """Write `target`_light.png and `target`_dark.png, `width` x `height` pixels from the top of the page."""
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        raise SystemExit("chromium is not there; Debian's package is called chromium")
    url = address if "://" in address else Path(address).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
            page = context.new_page()
            page.goto(url)
            page.wait_for_timeout(_SETTLED)
            page.get_by_text("The charts are being drawn").wait_for(state="hidden", timeout=_DRAWN)
            page.screenshot(path=f"{target}_{scheme}.png")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="a file, or the address of a page")
    parser.add_argument("target", help="where the pictures go, without _light.png and _dark.png")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    given = parser.parse_args()
    main(given.address, given.target, width=given.width, height=given.height)
