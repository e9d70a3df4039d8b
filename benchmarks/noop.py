"""A run that finds everything done, beside the same run of other tools: `make bench-noop` (after `make bench-setup`).

Three stages over the professional data set (115 chunks, 1.7 GB), weights of 50 MB and figures; whole processes, in
turns; ours is started by its console script, as users do. Each is preceded by `python -c pass`, and its ratio is to
that; "x ours" is to ours of the same round. The second line of ours has 11,500 chunks. "Checks" says what a tool looks
at before it skips. In the end one byte of a chunk is flipped, with size and mtime put back: it is noticed if anything
runs again or the command fails. The first call prepares for some minutes; what is ours stays in `.bench/noop/`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from noop_peers import PEERS, Peer, flip_byte, is_set_up, version_of
from noop_workspaces import FOLDER, LARGE, MANY, cached_run, chunks, prepared
from processes import PASS, Command, Cost
from side_by_side import Spread, machine, ratios, write_section

ROUNDS = 7
_GOAL = (
    "Goals: at most x15 of `python -c pass` (so beside doit), at least 3x faster than every tool with a comparable "
    "check (bold: inputs and outputs are compared with what is remembered of them), under 40 MiB, at most +30 % from "
    "100 to 10,000 chunks, and the flipped byte is noticed."
)
_OUR_CHECK = "size, mtime, ctime, inode; settings, code"
_MOST_WORDS = 100  # characters of a reason
_OURS = "ours, 115 chunks"
_OURS_MANY = "ours, 11,500 chunks"


def main() -> None:
    """Prepare, measure, flip, and write the section of the results."""
    large, many = prepared(LARGE), prepared(MANY)
    absent: dict[str, str] = {}
    peers = {}
    for peer in PEERS:
        problem = _prepare(peer, large)
        if problem:
            absent[peer.name] = problem
        else:
            peers[f"{peer.name} {version_of(peer)}"] = peer
    commands = {
        "python -c pass": Command(words=PASS),
        _OURS: cached_run(large),
        _OURS_MANY: cached_run(many),
        **{name: peer.cached_run() for name, peer in peers.items()},
    }
    costs, floors = _measure(commands)
    notices = {_OURS: _we_notice(large), _OURS_MANY: _we_notice(many)}
    notices |= {name: peer.notices_flipped_byte() for name, peer in peers.items()}
    shutil.rmtree(FOLDER / "peers", ignore_errors=True)  # which is not there when no peer could be prepared
    checks = {_OURS: _OUR_CHECK, _OURS_MANY: _OUR_CHECK} | {name: _check_of(peer) for name, peer in peers.items()}
    rows = []
    for name in commands:
        noticed = "" if name not in notices else "yes" if notices[name] else "no"
        rows.append(f"{_figures(name, costs, floors[name])} {checks.get(name, '')} | {noticed} |")
    rows += [f"| {name} | {problem} |{' |' * 7}" for name, problem in absent.items()]  # in place of figures
    write_section(
        "A run that finds everything done (`make bench-noop`)",
        "\n".join(
            [
                f"{machine()}; {ROUNDS} rounds. {_GOAL}\n",
                f"From 115 to 11,500 chunks: {_growth(costs):+.0%} (median of the rounds).\n",
                "| | ms: median | min | max | x `python -c pass` (min to max) | x ours | peak MiB | checks "
                "| notices the flipped byte |",
                "| --- " * 9 + "|",
                *rows,
            ]
        ),
    )


def _prepare(peer: Peer, workspace: Path) -> str:
    """Let a peer do its work once, and return what went wrong."""
    if not is_set_up(peer):
        return "not installed: `make bench-setup` did not succeed"
    print(f"preparing {peer.name}", file=sys.stderr)
    try:
        peer.prepare(workspace)
    except subprocess.CalledProcessError as error:
        return f"did not run, exit code {error.returncode}: {_last_words(peer.log)}"
    ran = sorted(peer.did_run())
    return (
        "" if ran == ["data", "evaluate", "train"] else f"ran {', '.join(ran) or 'nothing'} instead of each stage once"
    )


def _last_words(log: Path) -> str:
    """Return the last line of a log that says anything, short and without paths."""
    lines = log.read_text(errors="replace").splitlines()
    line = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return " ".join(word for word in line.split() if "/" not in word).replace("|", "")[:_MOST_WORDS]


def _check_of(peer: Peer) -> str:
    return f"**{peer.checks}**" if peer.is_comparable else peer.checks


def _measure(commands: dict[str, Command]) -> tuple[dict[str, list[Cost]], dict[str, list[float]]]:
    """Run all in turns; return their costs, and beside each the time of `python -c pass` just before it."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    floors: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        for name, command in commands.items():
            floors[name].append(Command(words=PASS).run().seconds)
            costs[name].append(command.run())
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    return costs, floors


def _we_notice(workspace: Path) -> bool:
    """Flip a byte of one of our chunks and return whether the next run makes it again."""
    path = chunks(workspace)[7]
    good = path.read_bytes()
    flip_byte(path)
    output = FOLDER / "flipped.json"
    command = cached_run(workspace)
    Command(words=(*command.words, "--json"), folder=command.folder).run(output=output)
    actions = [stage["action"] for stage in json.loads(output.read_text())["stages"]]
    for aside in path.parent.glob("*.corrupt-*"):
        aside.unlink()
    return actions == ["repair", "skip", "skip"] and path.read_bytes() == good


def _growth(costs: dict[str, list[Cost]]) -> float:
    pairs = zip(costs[_OURS], costs[_OURS_MANY], strict=True)
    return median(many.seconds / few.seconds for few, many in pairs) - 1


def _figures(name: str, costs: dict[str, list[Cost]], floors: list[float]) -> str:
    """Return the cells of a row that were measured."""
    seconds, ours = ([cost.seconds for cost in costs[each]] for each in (name, _OURS))
    ratio = ratios(seconds, to=floors)
    peak = max(cost.peak_mib for cost in costs[name])
    cells = (
        f"`{name}`" if name.startswith("python") else name,
        Spread.of(seconds).row(scale=1000),
        f"{ratio.median:.1f} ({ratio.min:.1f} to {ratio.max:.1f})",
        f"{ratios(seconds, to=ours).median:.2f}",
        f"{peak:.1f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
