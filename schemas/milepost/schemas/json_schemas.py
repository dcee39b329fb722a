"""JSON Schemas (draft 2020-12) of the contract's models, as they are on the wire."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import CoreSchema


class _WireSchema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:
        return False  # the name in other words


def json_schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of what `model` accepts on the wire, where unknown members are ignored."""
    schema = model.model_json_schema(schema_generator=_WireSchema)
    _open(schema)
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"urn:milepost:schema:{name}",
        "title": name,
    }
    return head | {key: value for key, value in schema.items() if key not in head}


def shared_schemas(models: Iterable[type[BaseModel]], reference: str) -> dict[str, Any]:
    """The same of many models and what they are made of, by class name; `reference` has {model}."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=reference,
        schema_generator=_WireSchema,
    )
    _open(schemas)
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


def _open(schema: Any) -> None:
    """Say of each object in `schema` what the decoder does with members that it does not name."""
    if isinstance(schema, list):
        for item in schema:
            _open(item)
    elif isinstance(schema, dict):
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        elif isinstance(schema.get("properties"), dict):
            schema.pop("additionalProperties", None)
        for item in schema.values():
            _open(item)
