"""`python -m pipeline` and the console script `pipeline`."""

from __future__ import annotations

import gc
import sys
from types import ModuleType


def main() -> None:
    """Run the command line of this process and exit with its code."""
    # Importing makes hundreds of thousands of objects and no garbage; `open_session` switches it on again.
    gc.disable()
    _leave_out_pydantic_plugins()
    if sys.argv[1:2] == ["__complete"]:
        from pipeline.completion import main as complete

        complete(sys.argv[2:])
        return
    from pipeline.cli import main as run_command_line

    sys.exit(run_command_line())


def _leave_out_pydantic_plugins() -> None:
    """Keep pydantic from looking for plugins, of which this program has none.

    Its own switch, the variable PYDANTIC_DISABLE_PLUGINS, still imports what reads the metadata of packages, among it
    `email` and `zipfile`: a fifteenth of a run that finds everything done. To be dropped once pydantic imports that
    only where it is used; `tests/test_layering.py` tells when this no longer helps.
    """
    loader = ModuleType("pydantic.plugin._loader")
    loader.get_plugins = lambda: ()  # type: ignore[attr-defined]
    sys.modules.setdefault(loader.__name__, loader)


if __name__ == "__main__":
    main()
