"""Makes the pages and their parts from templates; whatever they are given is escaped."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import __version__
from pipeline.fingerprint import digest_bytes
from pipeline.report.content import Content, charts_of
from pipeline.report.page import STYLE_NAME as REPORT_STYLE
from pipeline.report.page import TEMPLATES, drawn_charts, environment
from pipeline.secrets import hide_text
from pipeline.tables import duration, size

_NO_NAME = re.compile("[^a-z0-9]+")
_FOLDER = Path(__file__).with_name("templates")
_STATIC = Path(__file__).with_name("static")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Fragment:
    """A part of a page that is replaced as a whole: the id of its place, and what tells whether it has changed."""

    id: str
    title: str
    html: str

    @property
    def digest(self) -> str:
        """What changes with the part."""
        return digest_bytes(self.html.encode(errors="replace"))[:16]

    def document(self, known: Sequence[str]) -> dict[str, Any]:
        """Return it as JSON, without its text where the page has it already."""
        told = {"id": self.id, "title": self.title, "digest": self.digest}
        return told if self.digest in known else {**told, "html": self.html}


def page(template: str, **values: Any) -> bytes:
    """Return a whole page."""
    text = _environment().get_template(template).render(**values, version=__version__)
    return hide_text(text).encode(errors="replace")


def part(macro: str, *arguments: Any) -> str:
    """Return a part of a page: what the macro of this name in `parts.html` makes of its arguments."""
    return hide_text(str(getattr(_macros("parts.html"), macro)(*arguments)))


def report_fragments(content: Content, *, pictures: Sequence[str], trouble: str) -> tuple[Fragment, ...]:
    """Return verdict and sections of a report, as they stand in its file."""
    drawn = drawn_charts(charts_of(content.sections), pictures)
    blocks = _macros("blocks.html")
    found = [Fragment("verdict", "", str(blocks.verdict_card(content.verdict)))]
    if trouble:
        found.append(Fragment("trouble", "", part("chart_trouble", trouble)))
    names: list[str] = []
    for section in content.sections:
        # By its title: sections come while a run goes on, and those behind them stay what they are.
        names.append(_name_of(section.title, names))
        found.append(Fragment(f"part-{names[-1]}", section.title, str(blocks.section(section, names[-1], drawn))))
    return tuple(Fragment(each.id, each.title, hide_text(each.html)) for each in found)


def _name_of(title: str, taken: Sequence[str]) -> str:
    """Return a title as a part of ids and addresses, other than those that are taken."""
    name = _NO_NAME.sub("-", title.lower()).strip("-") or "section"
    free = (f"{name}-{number}" for number in count(2))
    return name if name not in taken else next(each for each in free if each not in taken)


@cache
def static_file(name: str) -> tuple[bytes, str] | None:
    """Return the file of this name that pages need, and its media type; None for every other name."""
    names = {path.name: path for path in _STATIC.iterdir()} | {"report.css": TEMPLATES / REPORT_STYLE}
    path = names.get(name)
    return None if path is None else (path.read_bytes(), _TYPES[path.suffix])


def _macros(template: str) -> ModuleType:
    module: Any = _environment().get_template(template).module
    return module  # type: ignore[no-any-return]


@cache
def _environment() -> Any:
    found = environment(_FOLDER)
    found.filters.update(moment=_moment, clock=_clock, duration=duration, size=size)
    return found


def _moment(at: float) -> str:
    """Return a moment in local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
