"""Which training checkpoints nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import IntegrityError
from stages.training.checkpoints import NAME, open_checkpoint, superseded


def find_leavings(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the checkpoints in the folders of finished trainings from which their weights would not be made again.

    That takes the newest and, where the best weights are wanted, the best. Those that cannot be read are left: they are
    set aside when one to continue from is looked for.
    """
    for folder in folders:
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if NAME.match(path.name):
                with suppress(IntegrityError):
                    found.append(open_checkpoint(path))
        yield from (checkpoint.path for checkpoint in superseded(found, keep=1, resumed_from=None))
