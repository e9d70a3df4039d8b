"""The manifest: which chunks a data set consists of, and what each of them must look like."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import IntegrityError
from pipeline.fingerprint import digest_bytes
from pipeline.schema import Schema
from pipeline.sealed import load_sealed, save_sealed

SCHEMA = Schema("manifest")


class ChunkEntry(BaseModel):
    """One chunk: samples `first_sample_id` to `first_sample_id + count - 1` of a split, in a file of their own.

    Attributes:
        chunk_id: counts from 0 within a split.
        file: relative to the manifest: a file beside it, or (`../name`) beside its folder; never anywhere else.
        size: bytes of the file.
        xxh3: digest of the whole file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    chunk_id: int = Field(ge=0)
    split: str
    file: str = Field(pattern=r"^(\.\./)?\w[\w.-]*$")
    first_sample_id: int = Field(ge=0)
    count: int = Field(ge=1)
    size: int = Field(ge=0)
    xxh3: str

    @property
    def sample_ids(self) -> range:
        """The ids of its samples."""
        return range(self.first_sample_id, self.first_sample_id + self.count)


@dataclass(frozen=True, kw_only=True)
class ChunkPlan:
    """A chunk that is to be there: where it belongs, which samples it holds, and what it is a part of.

    Attributes:
        file: name of its file in the folder of the data set.
        origin: digest of all that determines the samples of the data set.
    """

    chunk_id: int
    split: str
    file: str
    first_sample_id: int
    count: int
    origin: str

    def entry(self, data: bytes, *, folder: str = "") -> ChunkEntry:
        """Return the manifest entry for this chunk with these bytes; `folder` leads there from the manifest's."""
        known = {name: getattr(self, name) for name in ("chunk_id", "split", "first_sample_id", "count")}
        return ChunkEntry(**known, file=folder + self.file, size=len(data), xxh3=digest_bytes(data))

    def __str__(self) -> str:
        return self.file

    @property
    def seal_text(self) -> str:
        """What the seal of the chunk binds it to."""
        return f"{self.origin}/{self.split}/{self.first_sample_id}+{self.count}"


class Manifest(BaseModel):
    """All chunks of a data set, and what their readers must know about the samples (`meta`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[1] = 1
    meta: dict[str, Any]
    chunks: tuple[ChunkEntry, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Manifest:
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for entry in self.chunks:
            numbers[entry.split].append(entry.chunk_id)
        for split, found in numbers.items():
            if sorted(found) != list(range(len(found))):
                raise ValueError(f"the chunks of {split!r} are not numbered from 0 without gaps")
        ranges = sorted((entry.first_sample_id, entry.first_sample_id + entry.count) for entry in self.chunks)
        if any(stop > start for (_, stop), (start, _) in pairwise(ranges)):
            raise ValueError("a sample id occurs in two chunks")
        return self

    def split(self, name: str) -> tuple[ChunkEntry, ...]:
        """Return the chunks of one split in the order of their numbers."""
        return tuple(sorted((e for e in self.chunks if e.split == name), key=lambda entry: entry.chunk_id))


def chunk_path(manifest_path: Path, entry: ChunkEntry) -> Path:
    """Return where the file of `entry` lies, given where its manifest lies."""
    folder = manifest_path.parent
    return folder.parent / entry.file[3:] if entry.file.startswith("../") else folder / entry.file


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest` durably; the same manifest gives the same bytes."""
    save_sealed(path, manifest.model_dump(mode="json"))


def load_manifest(path: Path) -> Manifest:
    """Read a manifest back; raises FileNotFoundError or IntegrityError."""
    document = SCHEMA.migrate(load_sealed(path), name=str(path))
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise IntegrityError(
            f"{path} is not a manifest of this program: {where or 'chunks'}: {problem['msg']}",
            code="E0454",
            hint="generate the data set again, or write the manifest with stages.chunks.manifest.save_manifest",
        ) from error
