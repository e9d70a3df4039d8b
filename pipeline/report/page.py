"""Turns the content of a report into one HTML file that needs nothing else: no script, no network, no font."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.records import Target
from pipeline.report.charts import Chart
from pipeline.report.columns import figure_words, number_columns, whole_columns, whole_in_matrix
from pipeline.report.content import Content, Section, charts_of
from pipeline.report.letters import legible
from pipeline.report.parts import Box, Picture
from pipeline.report.tags import Tag, tags_of
from pipeline.secrets import hide_text
from pipeline.tables import counted

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
STYLE_NAME = "style.css"
_SHADES = 9


def report_page(content: Content, *, pictures: Sequence[str], trouble: str = "") -> bytes:
    """Return the page; `pictures` are those of its charts, in their order, `trouble` says why some are missing."""
    return _page(
        "report.html",
        charts=charts_of(content.sections),
        pictures=pictures,
        trouble=trouble,
        run=content.run,
        profile=content.profile,
        verdict=content.verdict,
        sections=content.sections,
    )


def comparison_page(
    runs: Sequence[str], sections: Sequence[Section], *, pictures: Sequence[str], trouble: str = ""
) -> bytes:
    """Return the page of a comparison of `runs`; pictures and trouble as for `report_page`."""
    charts = charts_of(sections)
    return _page("compare.html", charts=charts, pictures=pictures, trouble=trouble, runs=runs, sections=sections)


def _page(template: str, *, charts: Sequence[Chart], pictures: Sequence[str], **values: Any) -> bytes:
    from markupsafe import Markup

    drawn = drawn_charts(charts, pictures)
    style = Markup((TEMPLATES / STYLE_NAME).read_text())  # noqa: S704 - our own style sheet
    text = (
        environment()
        .get_template(template)
        .render(**values, drawn=drawn, style=style, policy=_policy(style), version=__version__)
    )
    return legible(hide_text(text)).encode()


def drawn_charts(charts: Sequence[Chart], pictures: Sequence[str]) -> Drawn:
    """Return the pictures that `svg.clean` has made of `charts`: besides them a page escapes whatever it is given."""
    from markupsafe import Markup

    return Drawn({id(chart): Markup(picture) for chart, picture in zip(charts, pictures, strict=True)})  # noqa: S704


class Drawn:
    """The pictures of charts, looked up by the chart itself: it holds lists, and so is no key."""

    def __init__(self, pictures: Mapping[int, str]) -> None:
        self._pictures = pictures

    def get(self, item: object) -> str:
        """Return the picture of `item`; empty where there is none."""
        return self._pictures.get(id(item), "")


def _policy(style: str) -> str:
    """Return what the page may do: show its own pictures, and use the one style sheet whose digest is given."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


@cache
def environment(*folders: Path) -> Environment:
    """Return what makes pages from the templates in `folders` and from those of reports."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    found.filters.update(
        figure=figure_words,
        shade=_shade,
        share=_share,
        described=_described,
        tags_of_truth=_tags_of_truth,
        tags_of_found=_tags_of_found,
        number_columns=number_columns,
        whole_columns=whole_columns,
        whole_in_matrix=whole_in_matrix,
    )
    return found


def _shade(count: int, counts: Sequence[int]) -> int:
    """Return how dark the cell of a matrix is, 0 to 9, by its share of the row."""
    if not count:
        return 0
    return max(1, round(_SHADES * count / sum(counts)))


def _share(target: Target) -> float:
    """Return the length of the bar of a target, 0 to 100."""
    return round(100 * min(1.0, max(0.0, target.value or 0.0)), 2)


def _described(picture: Picture) -> str:
    """Return a picture in words: what is there and what was found."""
    missed = sum(not box.is_right for box in picture.truth)
    wrong = sum(not box.is_right for box in picture.found)
    there = f"{counted(len(picture.truth), 'true object')} ({_names(picture.truth)}), {missed} of them missed"
    found = f"{counted(len(picture.found), 'prediction')} ({_names(picture.found)}), {wrong} of them wrong"
    return f"{picture.name}: {there}; {found}."


def _tags_of_truth(picture: Picture) -> list[Tag]:
    return tags_of(picture.truth, [box.label for box in picture.truth], picture)


def _tags_of_found(picture: Picture) -> list[Tag]:
    return tags_of(picture.found, [_words_of(box) for box in picture.found], picture)


def _words_of(box: Box) -> str:
    """Return what is said of a prediction: of a right one its score alone, as its name stands on the other side."""
    score = "" if box.score is None else f"{box.score:.2f}"
    return score if box.is_right and score else f"{box.label} {score}".rstrip()


def _names(boxes: Sequence[Box]) -> str:
    return ", ".join(box.label for box in boxes) or "none"
