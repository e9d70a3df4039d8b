"""The professional run on a GPU: correctness, throughput, peers, the whole run, checkpoints; writes GPU.md.

    make gpu-check                                     # with the python3 of the PATH (GPU_PYTHON=...)
    python3 benchmarks/gpu_check.py                    # until --seconds are over; the same command goes on
    python3 benchmarks/gpu_check.py --device cpu --tiny --out .bench/trial   # only tries the script itself

Stopped or killed at any point, it is continued by the same command: what is finished stays in `--out`, the whole run
goes on from its last checkpoint, a peer from its last save. What fails twice is given up until the code changes. Data
and checkpoints lie in `--workspace`; where that is lost they are made again.
The interpreter needs the packages that pyproject.toml names (on PYTHONPATH is enough), and pytest; not this project.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

_ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))  # where the package is not installed

import gpu_check_kernels  # noqa: E402
import gpu_check_peers as peers  # noqa: E402
import gpu_check_whole  # noqa: E402
import torch  # noqa: E402
from gpu_check_ledger import Item, Ledger, work_through  # noqa: E402
from gpu_check_report import MACHINES, report  # noqa: E402
from gpu_check_resume import resume  # noqa: E402
from gpu_check_saving import saving  # noqa: E402
from gpu_check_setting import Setting  # noqa: E402
from gpu_check_tests import tests  # noqa: E402
from gpu_check_throughput import throughput  # noqa: E402
from side_by_side import machine  # noqa: E402

from pipeline import files  # noqa: E402
from pipeline.fingerprint import digest_file, digest_json  # noqa: E402

# A minute less than the ten that a call may take: what has begun is brought to its end.
_SECONDS = 540.0
_TITLES = {
    "kernels": "1. Operations against float64 on the CPU",
    "tests": "1. Tests that need a GPU",
    "resume": "1. Resume after SIGKILL",
    "throughput": "2. Throughput of `professional` training",
    "peers": "3. Peers on the same images, batch and precision",
    "whole": "4. The whole run",
    "saving": "5. Checkpoints",
}
# Compiled or not, chunks on the device or sent, deterministic or not, samples in a batch.
_VARIANTS = (
    ("auto", True, True, 64),
    ("off", True, True, 64),
    ("auto", False, True, 64),
    ("off", True, False, 64),
    ("auto", True, False, 64),
    ("off", False, True, 64),
    ("auto", True, True, 128),
    ("auto", True, True, 32),
)


def plan(setting: Setting, ledger: Ledger) -> list[Item]:
    """Return all items, what matters most first; seconds are guesses for an H200, none where the script is tried."""
    first, second, *others = _throughput_items(setting)
    resumed, *resumed_otherwise = _resume_items(setting)
    items = [
        Item("kernels", 180, partial(gpu_check_kernels.kernels, setting)),
        Item("tests", 300, partial(tests, setting)),
        first,
        second,
        resumed,
        Item("peers-speed", 180, partial(peers.side_by_side, setting)),
        Item(gpu_check_whole.NAME, 60, partial(gpu_check_whole.whole, setting, ledger)),
        Item("saving", 120, partial(saving, setting)),
        Item("peers-accuracy-ours", 60, partial(peers.our_accuracy, setting)),
        *(Item(f"peers-accuracy-{name}", 120, partial(peers.accuracy, setting, name)) for name in peers.PEERS),
        *resumed_otherwise,
        *others,
    ]
    return [Item(item.name, 0, item.work) for item in items] if setting.is_tiny else items


def _throughput_items(setting: Setting) -> list[Item]:
    items = []
    for wish, is_kept, is_deterministic, batch_size in _VARIANTS if not setting.is_tiny else _VARIANTS[:2]:
        words = (
            "eager" if wish == "off" else "compiled",
            "kept" if is_kept else "sent",
            "deterministic" if is_deterministic else "free",
            str(batch_size),
        )
        work = partial(
            throughput,
            setting,
            compile_wish=wish,
            is_kept=is_kept,
            is_deterministic=is_deterministic,
            batch_size=batch_size,
        )
        items.append(Item(f"throughput-{'-'.join(words)}", 90 if wish == "off" else 180, work))
    return items


def _resume_items(setting: Setting) -> list[Item]:
    wanted = {
        "deterministic-eager": (True, "off", 180),
        "deterministic-compiled": (True, "auto", 360),
        "free": (False, "off", 180),
    }
    return [
        Item(f"resume-{name}", seconds, partial(resume, setting, is_deterministic=is_deterministic, compile_wish=wish))
        for name, (is_deterministic, wish, seconds) in wanted.items()
        if not setting.is_tiny or name == "deterministic-eager"
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0 once all is measured or given up, 75 where the same command must go on."""
    options = _options(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device; --device cpu --tiny tries the script without one")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    ledger = Ledger(
        options.out, {"device": name, "torch": torch.__version__, "tiny": options.tiny}, code=_code_digest()
    )
    _note_machine(ledger, device)
    setting = Setting(
        workspace=(options.workspace or options.out / "workspace").resolve(),
        device=device,
        is_tiny=options.tiny,
        real=options.real,
        deadline=time.monotonic() + options.seconds,
    )
    items = plan(setting, ledger)

    def tell(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        _write(options, setting, ledger, items)

    is_done = work_through(
        items, ledger, seconds_left=setting.seconds_left, tell=tell, clean=partial(_give_memory_back, device)
    )
    print(_write(options, setting, ledger, items))
    return 0 if is_done else 75


def _give_memory_back(device: torch.device) -> None:
    """Leave to the next item all of the device's memory that the one before it has used, whichever process it is."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _code_digest() -> str:
    places = ("pipeline", "stages", "benchmarks", "tests")
    paths = sorted(path for place in places for path in (_ROOT / place).rglob("*.py"))
    return digest_json([digest_file(path) for path in paths])


def _note_machine(ledger: Ledger, device: torch.device) -> None:
    """Add to the ledger what this call runs on beside the device, which other calls may have run on otherwise."""
    line = machine()
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        line += f"; CUDA {torch.version.cuda}, cuDNN {cudnn}, driver {_driver()}"
    lines = ledger.notes(MACHINES).get("lines", [])
    if line not in lines:
        ledger.note(MACHINES, {"lines": [*lines, line]})


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return next(iter(done.stdout.split()), "unknown")


def _write(options: argparse.Namespace, setting: Setting, ledger: Ledger, items: Sequence[Item]) -> str:
    roots = (setting.workspace, options.out, _ROOT, *((options.real,) if options.real else ()))
    text = report(ledger, items, titles=_TITLES, roots=roots)
    path = options.out / "GPU.md" if options.tiny else _ROOT / "benchmarks" / "GPU.md"
    files.write_bytes(path, text.encode())
    return text


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="begin nothing that would end later")
    parser.add_argument("--out", type=Path, default=_ROOT / ".bench" / "gpu", help="where finished figures are kept")
    parser.add_argument("--workspace", type=Path, help="for data and checkpoints, 10 GB; else in --out")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny data: only to try the script")
    parser.add_argument("--real", type=Path, help="a folder of real Bongard-LOGO images")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not options.tiny:
        parser.error("without a GPU only --tiny makes sense")
    return options


if __name__ == "__main__":
    sys.exit(main())
