"""Pictures of charts as parts of a page: only shapes and text are left of them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from pipeline.report.palette import CLASSES, GRID, INK
from pipeline.report.svg import Unsafe, clean

_SVG = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def cleaned(inner: str, *, attributes: str = "") -> ET.Element:
    """Return what is left of a picture with `inner` in it."""
    return ET.fromstring(clean(f"<svg {_SVG} {attributes}>{inner}</svg>", name="n", text="what it is"))  # noqa: S314 - our own


def test_shapes_keep_what_draws_them() -> None:
    """Outlines, places and sizes stay as they are."""
    shape = cleaned('<g transform="translate(1,2)"><path d="M0,0h3" stroke="#123456" stroke-width="2"/></g>')[0][0]
    assert shape.attrib == {"d": "M0,0h3", "stroke": "#123456", "stroke-width": "2"}


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>',
        '<image href="http://example.org/x.png"/>',
        '<a xlink:href="javascript:alert(1)"><path d="M0,0" fill="red"/></a>',
        '<use xlink:href="#x"/>',
        "<style>* { display: none }</style>",
        '<animate attributeName="x"/>',
    ],
)
def test_what_could_do_anything_is_left_out(inner: str) -> None:
    """Scripts, links, pictures from elsewhere, styles and animations are not for a chart."""
    assert [element.tag for element in cleaned(f'{inner}<path d="M0,0" fill="red"/>').iter()] == ["svg", "path"]


@pytest.mark.parametrize(
    "attribute", ['onclick="x()"', 'style="fill:red"', 'class="verdict"', 'xlink:href="x"', 'href="x"', 'role="alert"']
)
def test_attributes_that_draw_nothing_are_left_out(attribute: str) -> None:
    """No event, style, class, link or role of a picture comes into the page."""
    shape = cleaned(f'<path d="M0,0" fill="red" {attribute}/>')[0]
    assert shape.attrib == {"d": "M0,0", "fill": "red"}


def test_colours_become_classes() -> None:
    """A colour of the palette is the style sheet's to choose; any other stays."""
    shape = cleaned(f'<rect fill="{INK}" stroke="{GRID}" width="1"/><rect fill="rgb(1, 2, 3)"/>')
    assert shape[0].get("class") == "f-ink s-grid"
    assert shape[0].get("fill") is None
    assert shape[1].get("fill") == "rgb(1, 2, 3)"
    assert len(set(CLASSES.values())) == len(CLASSES)


def test_ids_are_the_pictures_own() -> None:
    """Two pictures of a page may use the same ids: each refers to its own; references elsewhere are dropped."""
    picture = cleaned(
        '<rect fill="url(#gradient_1)"/><rect fill="url(http://example.org/#x)" stroke="red"/>'
        '<defs><linearGradient id="gradient_1"><stop offset="0" stop-color="red"/></linearGradient></defs>'
    )
    assert picture[0].get("fill") == "url(#n-gradient_1)"
    assert picture[1].get("fill") is None
    assert picture[2][0].get("id") == "n-gradient_1"


def test_what_cuts_a_picture_to_size_is_kept() -> None:
    """The shape of a clip has no colour of its own, and is needed all the same."""
    picture = cleaned(
        '<g clip-path="url(#clip1)"><path d="M0,0" fill="red"/></g><clipPath id="clip1"><rect width="3"/></clipPath>'
    )
    assert picture[0].get("clip-path") == "url(#n-clip1)"
    assert (picture[1].get("id"), picture[1][0].attrib) == ("n-clip1", {"width": "3"})


def test_marks_keep_their_words_as_titles() -> None:
    """What a mark stands for is shown when it is pointed at, whatever the words are; axes say nothing."""
    hostile = "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
    picture = cleaned(
        f'<path aria-roledescription="rect mark" aria-label="{hostile}" d="M0,0" fill="red"/>'
        '<path aria-roledescription="axis" aria-label="X-axis" d="M0,0" fill="red"/>'
    )
    assert picture[0][0].text == "</title><script>alert(1)</script>"
    assert len(picture[1]) == 0
    again = clean(f"<svg {_SVG}>{ET.tostring(picture[0], encoding='unicode')}</svg>", name="n", text="x")
    assert "<script>" not in again


def test_text_is_text() -> None:
    """Whatever stands in a text element is only its words."""
    assert cleaned('<text fill="#000">a &lt;b&gt;<tspan>c</tspan></text>')[0].text == "a <b>c"


@pytest.mark.parametrize(
    "inner", ['<path d="M0,0" fill="red" display="none"/>', '<text fill="red" opacity="0">x</text>', '<path d="M0,0"/>']
)
def test_what_is_not_seen_takes_no_room(inner: str) -> None:
    """Hidden labels and shapes without colour are left out, and groups of nothing with them."""
    assert len(cleaned(f'<g><g>{inner}</g></g><path d="M1,1" fill="red"/>')) == 1


def test_picture_says_what_it_is() -> None:
    """Who cannot see it is told in a sentence."""
    picture = cleaned('<path d="M0,0" fill="red"/>', attributes='viewBox="0 0 1 1"')
    assert (picture.get("role"), picture.get("aria-label"), picture.get("viewBox")) == ("img", "what it is", "0 0 1 1")


@pytest.mark.parametrize("picture", ["", "no picture", "<svg", "<html/>", f"<svg {_SVG}/>"])
def test_what_is_no_picture_is_refused(picture: str) -> None:
    """Broken, foreign and empty documents are not put into a page."""
    with pytest.raises(Unsafe):
        clean(picture, name="n", text="")
