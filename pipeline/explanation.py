"""What an error code means: cause, example and remedy, in a Markdown file beside the code that raises it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OWN_FOLDER = Path(__file__).with_name("explanations")
_EXAMPLE = "\n\n## Example\n\n```console\n"
_REMEDY = "\n```\n\n## Remedy\n\n"
_BY_HAND = "E0701"
# The first two digits of a code: what kind of error it is, and with which exit code a command ends for it.
GROUPS = {
    "E01": ("a stage failed, or will not work", 1),
    "E02": ("usage or settings", 2),
    "E03": ("targets missed", 3),
    "E04": ("damaged, missing or newer files", 4),
    "E05": ("another run works here", 5),
    "E06": ("out of disk or memory", 6),
    "E07": ("stopped by a signal", 75),
    "E09": ("a bug", 101),
}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """An error as `pipeline explain` tells it; all texts are Markdown but `example`, which is as on a terminal."""

    code: str
    title: str
    cause: str
    example: str
    remedy: str

    @property
    def exit_code(self) -> int | None:
        """With which exit code a command ends for it; None for a code of somebody else's pipeline."""
        if self.code == _BY_HAND:
            return 130
        return GROUPS[self.code[:3]][1] if self.code[:3] in GROUPS else None


def find_explanations(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the files of all explanations in `folders` by their codes, in order; the first folder with one wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in folder.glob("*.md"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def load_explanation(path: Path) -> Explanation:
    """Read an explanation: a heading with the title, the cause, an example, and the remedy."""
    heading, _, rest = path.read_text(encoding="utf-8").partition("\n\n")
    cause, _, rest = rest.partition(_EXAMPLE)
    example, _, remedy = rest.partition(_REMEDY)
    texts = {"title": heading.removeprefix("# "), "cause": cause, "example": example, "remedy": remedy.rstrip()}
    assert all(texts.values()), f"{path} lacks a part of an explanation"
    return Explanation(code=path.stem, **texts)
