"""The two kinds of settings: what changes the result, and what changes only the running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

_TRACKER = r"^(tensorboard|wandb|mlflow|trackio|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
_LATER = "later"  # marks a field in its pydantic metadata


class StageConfig(BaseModel):
    """Settings of one stage; every field changes the result, so the whole of it is hashed (but see `later`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


def later(default: Any, *, description: str, **bounds: Any) -> Any:
    """Declare a setting that was added after the first format; `bounds` are those of pydantic's `Field`.

    At its default it is left out of the config hash, so that what was recorded before there was such a setting stays
    known by its hash. The default must therefore mean what was done before.
    """
    field: FieldInfo = Field(default, description=description, **bounds)
    field.metadata.append(_LATER)
    return field


def later_defaults(config: BaseModel) -> dict[str, Any]:
    """Return the defaults, as JSON values, of all later settings of `config` and of the models nested in it."""
    found: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if _LATER in field.metadata:
            found[name] = to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}))
        elif isinstance(value, BaseModel) and (inner := later_defaults(value)):
            found[name] = inner
    return found


def identity(config: BaseModel) -> dict[str, Any]:
    """Return the settings that tell one result from another, as JSON: all but later ones that are at their default."""
    dumped = config.model_dump(mode="json")
    _drop_later_defaults(dumped, config)
    return dumped


def _drop_later_defaults(dumped: Any, value: Any) -> None:
    """Take later settings that are at their default out of `dumped`, the JSON of `value`, which may hold models."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner = getattr(value, name)
            if _LATER in field.metadata and inner == field.get_default(call_default_factory=True, validated_data={}):
                dumped.pop(name, None)
            elif name in dumped:
                _drop_later_defaults(dumped[name], inner)
    elif isinstance(value, Mapping):
        for item, inner in zip(dumped.values(), value.values(), strict=True):
            _drop_later_defaults(item, inner)
    elif isinstance(value, list | tuple):
        for item, inner in zip(dumped, value, strict=True):
            _drop_later_defaults(item, inner)


def _as_fraction(value: Any) -> Any:
    """Return 0.01 for "1%"; all else is left to the checks that follow."""
    if isinstance(value, str) and value.endswith("%"):
        try:
            return float(value[:-1]) / 100
        except ValueError:
            return value
    return value


class RuntimeOptions(BaseModel):
    """How a run is carried out; recorded, never hashed, because the result does not depend on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where training and evaluation compute")
    incremental: bool = Field(True, description="begin to train while the data set is still being made")
    num_workers: int = Field(0, ge=0, le=256, description="processes for data generation; 0: one per usable core")
    log_interval_seconds: float = Field(5.0, gt=0, le=3600, description="between progress lines in a run's log file")
    checkpoint_interval_steps: int = Field(
        0, ge=0, le=10**12, description="training steps between extra checkpoints; 0: off"
    )
    checkpoint_interval_seconds: float = Field(0.0, ge=0, description="seconds between extra checkpoints; 0: off")
    checkpoint_budget: Annotated[float, BeforeValidator(_as_fraction, json_schema_input_type=float | str)] = Field(
        0.01,
        ge=0,
        le=1,
        description='part of the time of training that checkpoints may cost, 0.01 or "1%"; they are '
        "made as often as it allows, unless an interval is set; 0: off",
    )
    background_saves: bool = Field(True, description="write checkpoints while training goes on")
    # Two at least: the newest, and the one that was resumed from.
    keep_checkpoints: int = Field(3, ge=2, le=1000, description="training checkpoints kept besides the best")
    strict_env: bool = Field(False, description="refuse to continue a training in another environment than it ran in")
    # A chunk takes seconds, 30 of the largest ones on a busy core; ten times that is no longer work.
    worker_timeout_seconds: float = Field(
        300.0, gt=0, le=86_400, description="a data worker that takes longer for a chunk is taken to hang, and replaced"
    )
    grace_seconds: float = Field(30.0, gt=0, description="seconds between SIGTERM and SIGKILL; Slurm, Kubernetes: 30")
    sample_log: bool = Field(False, description="write the sample ids of every training step to logs/samples.jsonl")
    tensorboard: bool = Field(True, description="false takes tensorboard out of runtime.trackers")
    trackers: tuple[Annotated[str, StringConstraints(pattern=_TRACKER)], ...] = Field(
        ("tensorboard",),
        description="programs that keep curves and files of runs: tensorboard, wandb, mlflow, trackio, or your own as "
        '"module:attribute"; each is left out where it is not installed',
    )
    tracker_project: str = Field(
        "stage-pipeline",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="under which trackers keep runs together",
    )
    tracker_python: str = Field(
        "", description="interpreter that has the packages of the trackers, where that of the run does not"
    )
    tracker_online: bool = Field(False, description="let trackers use the network; else all they keep is in logs/")
    report: bool = Field(True, description="write results/<run>/report.html at the end of a run")
    secrets: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")], ...] = Field(
        (), description="environment variables whose values are never written or shown"
    )
