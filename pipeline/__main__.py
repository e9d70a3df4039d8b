"""`python -m pipeline` and the console script `pipeline`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    from pipeline.cli import main as run_command_line

    sys.exit(run_command_line())


if __name__ == "__main__":
    main()
