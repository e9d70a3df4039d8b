"""The JSON Schema of a settings file, by which editors complete and check it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.definition import PipelineDefinition
from pipeline.profiles import RUNTIME, profile_names

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def settings_schema(definition: PipelineDefinition) -> dict[str, Any]:
    """Return the schema of a `pipeline.toml` for the pipeline `definition`."""
    models: dict[str, type[BaseModel]] = {**definition.configs, RUNTIME: definition.runtime}
    references, shared = models_json_schema([(model, "validation") for model in models.values()])
    sections = {name: references[model, "validation"] for name, model in models.items()}
    profile = _table({"extends": {"type": "string", "description": "profile to start from"}, **sections})
    return {
        "$schema": DIALECT,
        "title": "Settings of the pipeline",
        **_table(
            {
                "pipeline": {"type": "string", "description": 'the pipeline to run, "module:attribute"'},
                "profile": {
                    "type": "string",
                    "description": "profile to use where none is named",
                    "examples": profile_names(definition),
                },
                "profiles": {
                    "type": "object",
                    "description": "own profiles, by name",
                    "additionalProperties": profile,
                },
                **sections,
            }
        ),
        "$defs": {name: _without_required(schema) for name, schema in shared.get("$defs", {}).items()},
    }


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _without_required(schema: dict[str, Any]) -> dict[str, Any]:
    # A file may leave out what a profile or a flag says.
    return {name: part for name, part in schema.items() if name != "required"}
