"""The peers of a cached run: how each is told to run the chain of `peers/noop/`, first and once more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noop_workspaces import FOLDER, chunks
from processes import Command
from side_by_side import ENVIRONMENTS, python_of

_SOURCES = Path(__file__).with_name("peers") / "noop"
_QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "KEDRO_DISABLE_TELEMETRY": "1",
    "ZENML_ANALYTICS_OPT_IN": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # its first start makes a database; 20 were not enough
    "USERNAME": "benchmark",  # Metaflow asks for one
}


@dataclass(frozen=True)
class Peer:
    """A tool that skips what is done.

    Attributes:
        run: its command line, the first word of which is a program of its environment.
        checks: what it looks at before it skips a stage, in a few words. What comes after "then" is looked at where
            what comes before has changed.
        again: the command line that skips, where that is another one.
        before: command lines that set up its project.
        is_comparable: whether it looks at what the stages have read and written, and remembers what was in it.
    """

    name: str
    run: str
    checks: str
    again: str = ""
    before: tuple[str, ...] = ()
    is_comparable: bool = False

    @property
    def folder(self) -> Path:
        """Its project."""
        return FOLDER / "peers" / self.name

    @property
    def log(self) -> Path:
        """What it printed when it was prepared."""
        return FOLDER / f"{self.name}.log"

    def prepare(self, workspace: Path) -> None:
        """Make its project over the chunks of `workspace` and run it; raises CalledProcessError."""
        found = chunks(workspace)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(_SOURCES / self.name, self.folder)
        shutil.copy(_SOURCES / "chain.py", self.folder)
        (self.folder / "chunks.json").write_text(json.dumps([path.name for path in found]))
        (self.folder / "home" / "prefect").mkdir(parents=True)  # Prefect's database needs it, and does not make it
        environment = {"CHAIN_SOURCE": str(found[0].parent)}
        for line in (*self.before, self.run, self.again or self.run):
            self._command(line, environment).run(output=self.log)

    def cached_run(self) -> Command:
        """Return the run that finds everything done."""
        return self._command(self.again or self.run, {})

    def did_run(self) -> list[str]:
        """Return the stages that have run since the last call."""
        log = self.folder / "ran.txt"
        ran = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return ran

    def notices_flipped_byte(self) -> bool:
        """Flip a byte of a chunk, put size and mtime back, and return whether its next run does anything about it."""
        path = sorted(self.folder.glob("data/chunks/*"))[7]
        self.did_run()
        flipped = flip_byte(path)
        try:
            self.cached_run().run()
        except subprocess.CalledProcessError:
            return True
        return bool(self.did_run()) or path.read_bytes() != flipped

    def _command(self, line: str, environment: Mapping[str, str]) -> Command:
        program, *words = line.split()
        programs = python_of(self.name).parent
        home = str(self.folder / "home")
        own = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "HOME": home,
            "PREFECT_HOME": f"{home}/prefect",
            "ZENML_CONFIG_PATH": f"{home}/zenml",
        }
        return Command(
            words=(str(programs / program), *words), folder=self.folder, environment={**_QUIET, **own, **environment}
        )


PEERS = (
    # of outputs it asks only whether they are there, of inputs nothing more where the mtime is the same
    Peer("doit", "doit", "mtime, then size, md5"),
    Peer("joblib", "python flow.py", "arguments, function"),
    Peer("metaflow", "python flow.py run", "which steps ended", again="python flow.py resume"),
    Peer("kedro", "kedro run --only-missing-outputs", "outputs exist"),
    Peer("dvc", "dvc repro", "size, mtime, inode, then md5", before=("dvc init --no-scm --quiet",), is_comparable=True),
    Peer("snakemake", "snakemake --cores 1", "mtime; rule, code", is_comparable=True),
    Peer("redun", "redun run workflow.py main", "size, mtime; function", before=("redun init",), is_comparable=True),
    Peer("zenml", "python flow.py", "arguments, function", before=("zenml init",)),
    Peer("prefect", "python flow.py", "arguments, function"),
)


def version_of(peer: Peer) -> str:
    """Return the version that is measured."""
    line = next(iter((_SOURCES.parent / f"{peer.name}.txt").read_text().splitlines()))
    return line.partition("==")[2]


def flip_byte(path: Path) -> bytes:
    """Flip a bit in the middle of a file in place, put its mtime back, and return what it holds then."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return path.read_bytes()


def is_set_up(peer: Peer) -> bool:
    """Return whether its environment was made."""
    return (ENVIRONMENTS / peer.name / ".installed").exists()
