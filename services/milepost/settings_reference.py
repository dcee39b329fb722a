"""`python -m milepost.settings_reference FILE`: writes the reference of all settings."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from milepost.setting_mistakes import variable
from milepost.settings import Settings

# Each section begins with the setting named here and ends before the next one.
_SECTIONS: Final = {
    "kafka_bootstrap_servers": "Kafka",
    "database_url": "Postgres",
    "api_url": "HTTP API",
    "jwt_issuer": "Access",
    "heartbeat_seconds": "Silence",
    "webhook_keys": "Webhooks",
    "metrics_port": "Health and metrics",
    "log_level": "Logs",
}
_HEAD: Final = """# Settings

Made by `make schemas` from `services/milepost/settings.py`. Sources, strongest first: arguments in code,
environment variables, and `.milepost/stack.json` of a running `milepost up` in the same folder. All
mistakes, unknown variables that begin with `MILEPOST_` among them, are named at once before anything
starts, with exit status 2. In Kubernetes set `enableServiceLinks: false`: it would set
`MILEPOST_API_PORT` and the like after services of such names.
"""


def page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "".join(_lines())


def _lines() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            yield f"\n## {_SECTIONS[name]}\n\n"
            yield "| variable | default | allowed | what it says |\n|---|---|---|---|\n"
        cells = (f"`{variable(name)}`", _default(field), _allowed(field), field.description or "")
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "" if value in (None, PydanticUndefined, ()) else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    if choices := list(_choices(field.annotation)):
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = {
        sign: getattr(one, name)
        for one in field.metadata
        for name, sign in (("gt", "more than"), ("ge", "from"), ("le", "to"), ("lt", "less than"))
        if hasattr(one, name)
    }
    said = [_kind(field.annotation), *(f"{sign} {limit:,}" for sign, limit in limits.items())]
    patterns = [one.pattern for one in field.metadata if getattr(one, "pattern", None)]
    return " ".join([*said, *(f"`{pattern}`" for pattern in patterns)])


def _choices(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from _choices(part)


def _kind(annotation: Any) -> str:
    text = str(annotation)
    kinds = {
        "SecretStr": "secret text", "Path": "file", "Network": "networks", "dict": "JSON object",
        "int": "whole number", "float": "number",
    }  # fmt: skip
    return next((kind for part, kind in kinds.items() if part in text), "text")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
