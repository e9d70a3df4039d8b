"""Versions of the documents on disk: older ones are read through migrations, newer ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import __version__
from pipeline.errors import IntegrityError, NewerFormat

Document = dict[str, Any]
KEY = "schema_version"
WRITER_KEY = "written_by"


@dataclass(frozen=True)
class Schema:
    """The format of one kind of document, whose versions count from 1.

    Attributes:
        kind: what it is, for people.
        migrations: the first turns version 1 into version 2, and so on; each returns a new document.
    """

    kind: str
    migrations: tuple[Callable[[Document], Document], ...] = ()

    @property
    def version(self) -> int:
        """The version that this program writes."""
        return len(self.migrations) + 1

    def migrate(self, document: Document, *, name: str) -> Document:
        """Return `document`, read from `name`, as one of the present version; what is on disk stays as it was written.

        Raises:
            NewerFormat: a later version of this program wrote it.
            IntegrityError: it does not say its version.
        """
        version = document.get(KEY)
        if type(version) is not int or version < 1:
            raise IntegrityError(
                f"{name} does not say which version of a {self.kind} it is (it says {version!r})", code="E0411"
            )
        if version > self.version:
            # Said by those who write it since the second version of records and checkpoints.
            writer = str(document.get(WRITER_KEY) or f"newer than {__version__}")
            raise NewerFormat(
                f"{name} is a {self.kind} of format {version}; this program, version {__version__}, knows formats up "
                f"to {self.version}",
                code="E0412",
                hint=f"use version {writer} of this program, or another folder with --workspace; nothing was touched",
            )
        for migration in self.migrations[version - 1 :]:
            document = migration(document)
        return {**document, KEY: self.version}


def add_writer(document: Document) -> Document:
    """Migrate a document of a format that did not say yet which version of the program wrote it."""
    return {**document, WRITER_KEY: ""}
