"""The settings that every task has, whatever it learns."""

from __future__ import annotations

from pydantic import Field

from pipeline.config import StageConfig


class TaskConfig(StageConfig):
    """Settings of a task; each task adds its own fields and gives `builder` its default."""

    builder: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description='who makes the task, "module:function"; called with these settings and the meta of the data set',
    )
