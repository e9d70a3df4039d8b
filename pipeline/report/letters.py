"""Which letters a page and its pictures may have."""

from __future__ import annotations

import re

# All others are control characters, halves of letters, and what XML 1.0 (section 2.2) has no place for; a page that is
# HTML could not show them either.
_ILLEGIBLE = re.compile("[^\t\n\r -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legible(text: str) -> str:
    """Return `text` with a mark for each letter that no page can show."""
    return _ILLEGIBLE.sub("\ufffd", text)
