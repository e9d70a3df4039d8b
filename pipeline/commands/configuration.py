"""`pipeline config`: the settings, where they come from, and what they may be."""

from __future__ import annotations

import json

from pipeline.answer import Answer
from pipeline.descriptions import head, shown
from pipeline.options import SettingsOptions
from pipeline.session import find_definition, open_session
from pipeline.tables import table


def show_config(settings: SettingsOptions) -> Answer:
    """Tell every setting with its value and where that comes from."""
    session = open_session(settings)
    values, origins = session.settings.values(), session.settings.origins
    document = {
        **head("config show", session.workspace),
        "profile": session.settings.profile,
        "settings": {key: {"value": value, "origin": origins[key]} for key, value in values.items()},
    }
    rows = [(key, origins[key], shown(value)) for key, value in values.items()]
    return Answer(document, lambda width: table(rows, header=("setting", "origin", "value"), width=width))


def config_schema(settings: SettingsOptions) -> Answer:
    """Tell what a settings file may hold."""
    from pipeline.settings_schema import settings_schema

    schema = settings_schema(find_definition(settings))
    return Answer(schema, lambda _: json.dumps(schema, indent=2))
