"""`python -m pipeline` and the console script `pipeline`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from types import ModuleType


def main() -> None:
    """Run the command line of this process and exit with its code."""
    # Importing makes hundreds of thousands of objects and no garbage; `open_session` switches it on again.
    gc.disable()
    _leave_out_pydantic_plugins()
    try:
        code = _carry_out()
    except KeyboardInterrupt:  # while modules are imported: nothing has begun, and `pipeline.cli` may not be there
        sys.stderr.write("error[E0701]: stopped by Ctrl+C\n")
        code = 130
    _end_at_once(code)
    sys.exit(code)


def _carry_out() -> int:
    if sys.argv[1:2] == ["__complete"]:
        from pipeline.completion import main as complete

        complete(sys.argv[2:])
        return 0
    from pipeline.cli import main as run_command_line

    return run_command_line()


def _leave_out_pydantic_plugins() -> None:
    """Keep pydantic from looking for plugins, of which this program has none.

    Its own switch, the variable PYDANTIC_DISABLE_PLUGINS, still imports what reads the metadata of packages, among it
    `email` and `zipfile`: a fifteenth of a run that finds everything done. To be dropped once pydantic imports that
    only where it is used; `tests/test_layering.py` tells when this no longer helps.
    """
    loader = ModuleType("pydantic.plugin._loader")
    loader.get_plugins = lambda: ()  # type: ignore[attr-defined]
    sys.modules.setdefault(loader.__name__, loader)


def _end_at_once(code: int) -> None:
    """End this process, unless anything waits for the end of the interpreter: a thread, or what was registered for it.

    To take apart everything that was imported takes a tenth of a short command, for memory that is given back anyway.
    What holds a file here closes it itself; torch, multiprocessing and temporary folders register themselves.
    """
    if threading.active_count() > 1 or atexit._ncallbacks():
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the interpreter says so, with an exit code of its own
        return
    os._exit(code)


if __name__ == "__main__":
    main()
