"""The scripts that make shells complete the command lines of this program."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Shell = Literal["bash", "zsh", "fish"]
_FOLDER = Path(__file__).with_name("completions")


def script(shell: Shell) -> str:
    """Return what `shell` runs; it asks `pipeline __complete SHELL LINE` for what may come next."""
    return (_FOLDER / f"pipeline.{shell}").read_text(encoding="utf-8")
