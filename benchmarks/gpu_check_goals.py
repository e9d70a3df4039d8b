"""The goals of the GPU check, and which of them the figures meet."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from gpu_check_ledger import Figures

IMAGES_PER_SECOND, WAITING_SHARE, TRAINING_SECONDS, TIMES_FASTER = 1500.0, 0.02, 360.0, 3.0
PROFILE = "throughput-compiled-kept-deterministic-64"  # the steps as the profile takes them
UNKNOWN = "not measured yet"
Find = Callable[[str], Figures | None]
Row = tuple[str, str, bool | None]


def goals(find: Find) -> list[Row]:
    """Return each goal, what was measured, and whether it is met, None where that is not known."""
    return [
        *_correctness(find),
        *_throughput(find),
        *(row for name in ("retinanet_resnet50_fpn", "fcos_resnet50_fpn") for row in _peer(find, name)),
        *_whole(find),
    ]


def _correctness(find: Find) -> Iterator[Row]:
    checks = find("kernels")
    wrong = [check["name"] for check in checks["checks"] if not check["is_met"]] if checks else []
    said = f"{len(wrong)} of {len(checks['checks'])} do not" if checks else UNKNOWN
    yield "operations agree with float64", said, bool(checks["is_met"]) if checks else None
    tests = find("tests")
    said = f"{tests['failed']} failed, {tests['passed']} passed, {tests['skipped']} skipped" if tests else UNKNOWN
    yield "tests that need a GPU pass", said, bool(tests["is_met"] and tests["passed"]) if tests else None
    for name in ("deterministic-eager", "deterministic-compiled", "free"):
        found = find(f"resume-{name}")
        # Without `deterministic` nobody promises the same bits.
        keys = ("is_same_samples",) if name == "free" else ("is_same_samples", "is_same_weights")
        what = "same samples" if name == "free" else "same samples, same bits"
        said = f"killed after step {', '.join(map(str, found['kills_after_step']))}" if found else UNKNOWN
        yield f"resume, {name}: {what}", said, all(found[key] for key in keys) if found else None


def _throughput(find: Find) -> Iterator[Row]:
    found = find(PROFILE)
    rate = statistics.median(found["images_per_second"]) if found else 0.0
    said = f"{rate:,.0f}" if found else UNKNOWN
    yield f"images/s in training, at least {IMAGES_PER_SECOND:,.0f}", said, _is(rate >= IMAGES_PER_SECOND, found)
    share = found["waiting_share"] if found else 0.0
    said = f"{share:.2%}" if found else UNKNOWN
    yield f"waiting for data, at most {WAITING_SHARE:.0%}", said, _is(share <= WAITING_SHARE, found)


def _peer(find: Find, name: str) -> Iterator[Row]:
    speed, ours, theirs = find("peers-speed"), find("peers-accuracy-ours"), find(f"peers-accuracy-{name}")
    times = float(speed["times_faster"][name]) if speed else 0.0
    said = f"{times:.2f}" if speed else UNKNOWN
    yield f"times the images/s of {name}, at least {TIMES_FASTER:g}", said, _is(times >= TIMES_FASTER, speed)
    if ours and theirs:
        mine, other = (figures["ap"] or 0.0 for figures in (ours, theirs))
        yield f"AP, at least that of {name}", f"{mine:.3f} and {other:.3f}", mine >= other
    else:
        yield f"AP, at least that of {name}", UNKNOWN, None


def _whole(find: Find) -> Iterator[Row]:
    found = find("whole-run")
    seconds = float(found["training_seconds"]) if found else 0.0
    said = f"{seconds:.0f}, its validations and the work that a kill undid included" if found else UNKNOWN
    what = f"seconds for the 50 epochs of training, less than {TRAINING_SECONDS:.0f}"
    yield what, said, _is(seconds < TRAINING_SECONDS, found)
    yield (
        "targets of the profile",
        "; ".join(found["targets"]) if found else UNKNOWN,
        bool(found["are_targets_met"]) if found else None,
    )
    if found and not found["has_real"]:
        yield "AP50 on real Bongard-LOGO images, at least 0.70", "not measured: `--real` was not given", None


def _is(is_met: bool, found: Figures | None) -> bool | None:
    return is_met if found is not None else None
