"""GPU.md: all figures of the GPU check that there are, and by name those that there are not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_check_goals import TIMES_FASTER, goals
from gpu_check_ledger import Figures, Item, Ledger
from places import without_places

MACHINES = "machines"  # under which the ledger has notes of what each call ran on


def report(ledger: Ledger, items: Sequence[Item], *, titles: Mapping[str, str], roots: Sequence[Path] = ()) -> str:
    """Return the document, which does not name the folders `roots`.

    `titles` are those of its parts, by the words with which the names of their items begin.
    """
    machine = ", ".join(f"{key} {value}" for key, value in ledger.identity.items())
    lines = ["# The professional run on a GPU", "", f"By `make gpu-check`: {machine}.", ""]
    lines += [f"- {line}" for line in ledger.notes(MACHINES).get("lines", [])] + [""]
    unfinished = [item.name for item in items if ledger.figures(item.name) is None]
    given_up = [name for name in unfinished if ledger.is_given_up(name)]
    missing = [name for name in unfinished if name not in given_up]

    def named(names: Sequence[str]) -> str:
        return ", ".join(f"{name}{_why(ledger.failure(name), roots)}" for name in names)

    if ledger.identity.get("tiny"):
        lines += ["**A trial of the script on tiny data: none of these figures means anything.**", ""]
    if given_up:
        lines += [f"**Failed, and not tried again before the code changes:** {named(given_up)}.", ""]
    if missing:
        lines += [f"**Not measured yet:** {named(missing)}. The same command goes on.", ""]
    lines += ["## Goals", "", *_table("goal", "measured", "met"), *map(_goal, goals(ledger.figures)), ""]
    for prefix, title in titles.items():
        found = {item.name: ledger.figures(item.name) for item in items if item.name.startswith(prefix)}
        present = {name: figures for name, figures in found.items() if figures is not None}
        lines += [f"## {title}", "", *(_SECTIONS[prefix](present) if present else ["Not measured yet."]), ""]
    return "\n".join(lines)


def _why(problem: str, roots: Sequence[Path]) -> str:
    return f" (failed: {without_places(problem.splitlines()[0], roots=roots)[:200]})" if problem else ""


def _goal(row: tuple[str, str, bool | None]) -> str:
    what, measured, is_met = row
    return f"| {what} | {measured} | {'' if is_met is None else _verdict(is_met)} |"


def _kernels(found: Mapping[str, Figures]) -> list[str]:
    figures = found["kernels"]
    rows = [
        f"| {check['name']} | {check['value']:.2g} | {check['limit']:.2g} | {_verdict(check['is_met'])} |"
        for check in figures["checks"]
    ]
    head = f"Random inputs, seed {figures['seed']}. Relative errors are norms: ||out - reference|| / ||reference||."
    return [head, "", *_table("check", "measured", "at most", ""), *rows]


def _tests(found: Mapping[str, Figures]) -> list[str]:
    figures = found["tests"]
    failures = [f"- {failure}" for failure in figures["failures"]]
    return [f"{figures['passed']} passed, {figures['failed']} failed, {figures['skipped']} skipped.", "", *failures]


def _resume(found: Mapping[str, Figures]) -> list[str]:
    rows = [
        f"| {name.removeprefix('resume-')} | {', '.join(map(str, figures['kills_after_step']))} of "
        f"{figures['num_steps']} | {_verdict(figures['is_same_samples'])} | {_verdict(figures['is_same_weights'])} |"
        for name, figures in found.items()
    ]
    return [*_table("training", "SIGKILL after step", "same samples, same order", "same bits"), *rows]


def _throughput(found: Mapping[str, Figures]) -> list[str]:
    peaks = [figures["bf16_flops"] / 1e12 for figures in found.values()]
    gigaflops = max(figures["image_flops"] for figures in found.values()) / 1e9
    head = (
        f"bf16 matrix peak, measured with each: {min(peaks):,.0f} to {max(peaks):,.0f} TFLOP/s. Forward and backward "
        f"pass of an image: {gigaflops:,.1f} GFLOP."
    )
    rows = []
    for name, figures in found.items():
        rates = figures["images_per_second"]
        middle = statistics.median(rates)
        share = f"{middle * figures['image_flops'] / figures['bf16_flops']:.1%}"
        rows.append(
            f"| {name.removeprefix('throughput-')} | {middle:,.0f} | {min(rates):,.0f} | {max(rates):,.0f} | {share} | "
            f"{figures['waiting_share']:.2%} | {figures['peak_bytes'] / 2**30:.1f} | "
            f"{figures['first_epoch_seconds']:.0f} | {_is_compiled(figures)} |"
        )
    columns = (
        "steps",
        "images/s",
        "min",
        "max",
        "of the peak",
        "waiting for data",
        "GiB",
        "first epoch, s",
        "compiled",
    )
    return [head, "", *_table(*columns), *rows]


def _peers(found: Mapping[str, Figures]) -> list[str]:
    lines: list[str] = []
    if figures := found.get("peers-speed"):
        rows = []
        for name, rates in figures["images_per_second"].items():
            times = figures["times_faster"].get(name)
            faster = f"{times:.2f} (goal {TIMES_FASTER:g})" if times else ""
            rows.append(
                f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} | {faster} |"
            )
        lines += ["Measured in turns; ours " + _is_compiled(figures) + " compiled, and deterministic.", ""]
        lines += [*_table("detector", "images/s", "min", "max", "ours is so many times faster"), *rows, ""]
    rows = [
        f"| {name.removeprefix('peers-accuracy-')} | {figures['samples']:,} | {figures['ap'] or 0:.3f} | "
        f"{figures['ap50'] or 0:.3f} | {figures['training_seconds']:.0f} |"
        for name, figures in found.items()
        if name.startswith("peers-accuracy")
    ]
    return [*lines, *_table("detector", "samples trained", "AP", "AP50", "seconds of training"), *rows]


def _whole(found: Mapping[str, Figures]) -> list[str]:
    figures = found["whole-run"]
    reached = figures["seconds_to_targets"]
    rows = [
        f"| {data_set} | {' | '.join('' if values[key] is None else f'{values[key]:.4f}' for key in values)} |"
        for data_set, values in figures["figures"].items()
    ]
    real = [] if figures["has_real"] else ["`--real` was not given: nothing is known of real images.", ""]
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in figures["stage_seconds"].items())
    return [
        f"{figures['samples']:,} samples in {figures['epochs']:g} epochs and {figures['steps']:,} steps, killed after "
        f"step {figures['killed_after_step']:,}: {figures['seconds']:.0f} s in all, "
        f"{figures['training_seconds']:.0f} s of them training (the last calls: {stages}). "
        f"Targets met in a validation after {'-' if reached is None else f'{reached:.0f} s'}; at the end: "
        f"{_verdict(figures['are_targets_met'])}. "
        f"Most memory of the device in use by it: {figures['peak_bytes'] / 2**30:.1f} GiB.",
        "",
        *real,
        *_table("data set", *next(iter(figures["figures"].values()))),
        *rows,
    ]


def _saving(found: Mapping[str, Figures]) -> list[str]:
    figures = found["saving"]
    rows = [
        f"| {name} | " + " | ".join(f"{1000 * value:,.0f}" for value in _spread(figures[f"{name}_seconds"])) + " |"
        for name in ("blocked", "lost", "durable")
    ]
    head = f"A checkpoint of {figures['bytes'] / 1e6:,.0f} MB; milliseconds."
    return [head, "", *_table("", "median", "min", "max"), *rows]


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _table(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def _verdict(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _is_compiled(figures: Mapping[str, Any]) -> str:
    return "is" if figures["is_compiled"] else "is not"


_SECTIONS: Mapping[str, Callable[[Mapping[str, Figures]], list[str]]] = {
    "kernels": _kernels,
    "tests": _tests,
    "resume": _resume,
    "throughput": _throughput,
    "peers": _peers,
    "whole": _whole,
    "saving": _saving,
}
