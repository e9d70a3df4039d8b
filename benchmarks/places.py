"""What other programs have said, fit for a document that is committed: without the places of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# A path from the root on: not what follows a word or a dot, as in "images/s" and "../x", nor a lone slash.
_ABSOLUTE = re.compile(r"""(?<![\w.~/])~?/(?:[^\s/:;,'"`()\[\]<>|]+/)*([^\s/:;,'"`()\[\]<>|]+)/?""")


def without_places(text: str, *, roots: Sequence[Path] = ()) -> str:
    """Return `text` with the paths below `roots` relative to them, and of any other absolute path only its name."""
    for root in sorted({str(root) for place in roots for root in (place, place.resolve())}, key=len, reverse=True):
        text = text.replace(f"{root}/", "").replace(root, ".")
    return _ABSOLUTE.sub(r"\1", text)
