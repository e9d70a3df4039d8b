"""Commands that do no work, whole processes beside their yardsticks, in turns: `make bench-startup`.

`status` is measured in the workspaces of `noop.py`: the professional data set, and one of 11,500 chunks.
"""

from __future__ import annotations

import sys

from noop_workspaces import LARGE, MANY, on, prepared
from processes import PASS, PIPELINE, Command
from side_by_side import Spread, in_turns, machine, ratios, write_section

ROUNDS = 9
_YARDSTICK = "python -c 'import typer, pydantic, xxhash'"
# 150 and 200 ms where the yardstick takes 70.
_GOALS = {"pipeline --help": 150 / 70, "pipeline status": 200 / 70, "pipeline status, 11,500 chunks": 200 / 70}


def main() -> None:
    """Measure and write the section of the results."""
    commands = {
        "python -c pass": Command(words=PASS),
        _YARDSTICK: Command(words=(sys.executable, "-c", "import typer, pydantic, xxhash")),
        "python -c 'import torch'": Command(words=(sys.executable, "-c", "import torch")),
        "pipeline --help": Command(words=(*PIPELINE, "--help")),
        "pipeline status": on(prepared(LARGE), "status"),
        "pipeline status, 11,500 chunks": on(prepared(MANY), "status"),
    }
    for command in commands.values():
        command.run()  # fills the page cache
    measures = {name: lambda command=command: command.run().seconds for name, command in commands.items()}
    seconds = in_turns(measures, rounds=ROUNDS)
    rows = []
    for name, values in seconds.items():
        to_pass = ratios(values, to=seconds["python -c pass"]).median
        to_yardstick = ratios(values, to=seconds[_YARDSTICK]).median
        goal = f"<= {_GOALS[name]:.2f}" if name in _GOALS else ""
        cells = (f"`{name}`", Spread.of(values).row(scale=1000), f"{to_pass:.1f}", f"{to_yardstick:.2f}", goal)
        rows.append(f"| {' | '.join(cells)} |")
    write_section(
        "Start-up: commands that do no work (`make bench-startup`)",
        "\n".join(
            [
                f"{machine()}; whole processes, {ROUNDS} rounds; medians of the ratios within a round.\n",
                "| command | ms: median | min | max | x `python -c pass` | x the three imports | goal |",
                "| --- | --- | --- | --- | --- | --- | --- |",
                *rows,
            ]
        ),
    )


if __name__ == "__main__":
    main()
