"""Where a page of the documentation has a generated part, and which."""

from __future__ import annotations

import re

from generators.commands import commands
from generators.decisions import decisions
from generators.errors import errors
from generators.settings import settings

_PLACE = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_PARTS = {"commands": commands, "decisions": decisions, "errors": errors, "settings": settings}


def complete(text: str) -> str:
    """Return the Markdown `text` of a page with each `<!-- generated: NAME -->` replaced by what it stands for."""
    return _PLACE.sub(lambda found: _PARTS[found[1]](), text)
