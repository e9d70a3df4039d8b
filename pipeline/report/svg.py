"""Makes a picture safe and at home in a page: only shapes and text are left of it, and its colours become classes."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from pipeline.report.palette import CLASSES

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_SHAPES = frozenset({"path", "rect", "line", "circle", "text"})
_HOLDERS = frozenset({"svg", "g", "defs", "clipPath", "linearGradient", "stop"})
_KEPT = frozenset({
    "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height", "viewBox", "transform",
    "offset", "stop-color", "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity",
    "stroke-opacity", "fill-opacity", "text-anchor", "font-size", "font-weight", "id", "clip-path", "gradientUnits",
})  # fmt: skip
_PAINTS = {"fill": "f", "stroke": "s"}
_REFERENCE = re.compile(r"url\(#([\w-]+)\)")
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")


class Unsafe(ValueError):
    """A picture is not what a chart is made of."""


def clean(picture: str, *, name: str, text: str) -> str:
    """Return the SVG document `picture` as an element of a page; `text` describes it to those who cannot see it.

    Shapes that say what they stand for (`aria-label`) keep it as their title, which is shown when they are pointed at.
    `name` keeps its ids apart from those of other pictures of the page.

    Raises:
        Unsafe: it cannot be read as SVG.
    """
    try:
        root = ET.fromstring(picture)  # noqa: S314 - made by our own renderer from our own chart
    except ET.ParseError as error:
        raise Unsafe(f"a chart cannot be read: {error}") from error
    if root.tag != f"{_NAMESPACE}svg":
        raise Unsafe("a chart is no picture")
    cleaned = _cleaned(root, name=name)
    if cleaned is None:
        raise Unsafe("a chart shows nothing")
    cleaned.set("role", "img")
    cleaned.set("aria-label", text)
    return ET.tostring(cleaned, encoding="unicode")


def _cleaned(element: ET.Element, *, name: str) -> ET.Element | None:
    """Return a copy of what is shown of `element`; None where that is nothing."""
    tag = element.tag.removeprefix(_NAMESPACE)
    if tag not in _SHAPES | _HOLDERS or _is_invisible(element, tag):
        return None
    copy = _bare(element, name=name)
    if tag == "text":
        copy.text = "".join(element.itertext())
        return copy
    if tag == "clipPath":  # its shapes have no colour
        copy.extend(_bare(child, name=name) for child in element if child.tag.removeprefix(_NAMESPACE) in _SHAPES)
        return copy
    for child in element:
        if (kept := _cleaned(child, name=name)) is not None:
            copy.append(kept)
    if tag in _HOLDERS:
        return copy if len(copy) or tag == "stop" else None
    if element.get("aria-roledescription", "").endswith("mark") and (label := element.get("aria-label")):
        title = ET.SubElement(copy, "title")
        title.text = label
    return copy


def _bare(element: ET.Element, *, name: str) -> ET.Element:
    """Return a copy of `element` without its children."""
    copy = ET.Element(element.tag.removeprefix(_NAMESPACE))
    for attribute, value in element.attrib.items():
        if attribute in _KEPT:
            _set(copy, attribute, value, name=name)
    return copy


def _is_invisible(element: ET.Element, tag: str) -> bool:
    is_hidden = element.get("display") == "none" or element.get("opacity") == "0"
    has_paint = element.get("fill") not in (None, "none") or element.get("stroke") not in (None, "none")
    return is_hidden or (tag in _SHAPES and not has_paint)


def _set(element: ET.Element, attribute: str, value: str, *, name: str) -> None:
    if attribute in _PAINTS and value in CLASSES:
        classes = [*element.get("class", "").split(), f"{_PAINTS[attribute]}-{CLASSES[value]}"]
        element.set("class", " ".join(classes))
        return
    if attribute == "id":
        value = f"{name}-{value}"
    if "url(" in value and not _REFERENCE.fullmatch(value):
        return
    value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
    element.set(attribute, _LONG_NUMBER.sub(r"\1", value))
