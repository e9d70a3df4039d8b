"""What a stage adds to the report of its run: a document of tables, curves, matrices and pictures.

A stage writes it as an artifact of the kind `REPORT_KIND`; the report shows it as it is. All text in it stays text.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.reading import read_regular

REPORT_KIND = "report"
MAX_BYTES = 16 << 20

Cell = str | int | float | None
Fraction = Annotated[float, Field(ge=0, le=1)]


class NoPart(ValueError):
    """A document is not what a stage adds to a report; the text says where it is not."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class TableBlock(_Block):
    """A table; the first cell of a row is its head. A cell that is None is shown as unknown."""

    kind: Literal["table"] = "table"
    title: str
    note: str = ""
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Series(_Block):
    """A named curve: points (x, y) in the order in which they are joined."""

    name: str
    points: tuple[tuple[float, float], ...]


class LinesBlock(_Block):
    """Curves over one axis; where a domain is given, the axis shows just that."""

    kind: Literal["lines"] = "lines"
    title: str
    note: str = ""
    x_title: str
    y_title: str
    x_domain: tuple[float, float] | None = None
    y_domain: tuple[float, float] | None = None
    series: tuple[Series, ...]


class MatrixBlock(_Block):
    """Counts by row and column."""

    kind: Literal["matrix"] = "matrix"
    title: str
    note: str = ""
    row_title: str
    column_title: str
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Box(_Block):
    """A box in a picture, in its pixels, with its name; `is_right` tells whether the other side has it too."""

    x: float
    y: float
    width: float
    height: float
    label: str
    score: Fraction | None = None
    is_right: bool


class Picture(_Block):
    """A picture with what is really there and what was found; `image` is base64 of a file of `media_type`.

    Width and height are those of the pixels that boxes are given in; the file may be smaller.
    """

    name: str
    caption: str = ""
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    media_type: Literal["image/png", "image/webp", "image/jpeg"]
    image: str = Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")
    truth: tuple[Box, ...]
    found: tuple[Box, ...]


class PicturesBlock(_Block):
    """Pictures, each twice side by side: with the boxes that are really there, and with those that were found."""

    kind: Literal["pictures"] = "pictures"
    title: str
    note: str = ""
    pictures: tuple[Picture, ...]


Block = Annotated[TableBlock | LinesBlock | MatrixBlock | PicturesBlock, Field(discriminator="kind")]


class ReportPart(_Block):
    """What one stage adds: blocks under a title."""

    schema_version: Literal[1] = 1
    title: str
    blocks: tuple[Block, ...]


def encode_part(part: ReportPart) -> bytes:
    """Return `part` as JSON; the same part gives the same bytes."""
    document = part.model_dump(mode="json")
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def load_part(path: Path) -> ReportPart:
    """Read the document at `path`; raises OSError or IntegrityError as `read_regular` does, or NoPart."""
    try:
        return ReportPart.model_validate_json(read_regular(path, max_bytes=MAX_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise NoPart(f"{path} is no part of a report: {where}: {first['msg']}") from error


def encode_image(data: bytes) -> str:
    """Return the bytes of an image file as `Picture.image` wants them."""
    return base64.b64encode(data).decode()
