"""`pipeline completion`: the script that makes a shell complete command lines."""

from __future__ import annotations

from pipeline.answer import Answer
from pipeline.completion_scripts import Shell, script
from pipeline.descriptions import SCHEMA_VERSION


def completion(shell: Shell) -> Answer:
    """Tell the script for `shell`, as it is."""
    text = script(shell)
    document = {"schema_version": SCHEMA_VERSION, "command": "completion", "shell": shell, "script": text}
    return Answer(document, lambda _: text.rstrip("\n"))
