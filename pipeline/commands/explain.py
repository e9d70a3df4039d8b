"""`pipeline explain`: what an error code means and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.answer import Answer
from pipeline.descriptions import SCHEMA_VERSION
from pipeline.errors import UsageError
from pipeline.explanation import GROUPS, OWN_FOLDER, Explanation, find_explanations, load_explanation
from pipeline.options import PlaceOptions
from pipeline.session import find_explanations_of
from pipeline.tables import wrapped

_SHORT = re.compile(r"[eE]?(\d{1,4})")  # of E0417: e417, 417


def explain(word: str | None, place: PlaceOptions) -> Answer:
    """Tell what the code `word` means; without one, which codes there are."""
    if word is None:
        return _all_codes(find_explanations_of(place))
    code = f"E{match[1]:0>4}" if (match := _SHORT.fullmatch(word)) else word.upper()
    known = find_explanations([OWN_FOLDER])
    if code not in known:
        known = find_explanations_of(place)
    if code not in known:
        raise UsageError(
            f"there is no error code {word!r}; did you mean {_nearest(code, known)!r}?",
            code="E0208",
            hint="`pipeline explain` lists all codes",
        )
    explanation = load_explanation(known[code])
    document = {"schema_version": SCHEMA_VERSION, "command": "explain", **_document(explanation)}
    return Answer(document, lambda width: _text(explanation, width=width))


def _nearest(code: str, known: Iterable[str]) -> str:
    """Return the known code with the same letters; of these the one with the same digits, else the next in number."""

    def distance(other: str) -> tuple[bool, bool, int]:
        (letters, digits), (others, their_digits) = map(_split, (code, other))
        return letters != others, sorted(digits) != sorted(their_digits), abs(int(digits) - int(their_digits))

    return min(known, key=distance)


def _split(code: str) -> tuple[str, str]:
    letters = code.rstrip("0123456789")
    return letters, code[len(letters) :] or "0"


def _all_codes(known: Mapping[str, Path]) -> Answer:
    explanations = [load_explanation(path) for path in known.values()]
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": "explain",
        "codes": [_document(explanation) for explanation in explanations],
    }
    return Answer(document, lambda width: _list_text(explanations, width=width))


def _document(explanation: Explanation) -> dict[str, Any]:
    return {**asdict(explanation), "exit_code": explanation.exit_code}


def _text(explanation: Explanation, *, width: int) -> str:
    ending = "" if explanation.exit_code is None else f" (exit code {explanation.exit_code})"
    example = "\n".join(f"    {line}" for line in explanation.example.splitlines())
    return "\n\n".join(
        (
            wrapped(f"{explanation.code}: {explanation.title}{ending}", width=width),
            _paragraphs(explanation.cause, width=width),
            f"Example:\n\n{example}",
            f"Remedy:\n\n{_paragraphs(explanation.remedy, width=width)}",
        )
    )


def _paragraphs(markdown: str, *, width: int) -> str:
    """Return prose anew in lines of `width`; where any width will do, in those of the file."""
    if not width:
        return markdown
    return "\n\n".join(wrapped(" ".join(each.split()), width=width) for each in markdown.split("\n\n"))


def _list_text(explanations: Sequence[Explanation], *, width: int) -> str:
    lines: list[str] = []
    group = ""
    for each in explanations:
        if each.code[:3] != group:
            group = each.code[:3]
            what, exit_code = GROUPS.get(group, ("errors of this pipeline", None))
            heading = what if exit_code is None else f"{what} (exit code {exit_code})"
            lines += ["", wrapped(heading, width=width)]
        lines.append(wrapped(f"{each.code}  {each.title}", width=width, indent="  ", hanging="         "))
    return "\n".join(lines[1:])
