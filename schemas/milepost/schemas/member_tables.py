"""JSON Schemas as tables in Markdown: a row per member, with type, bounds and meaning."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

Schema = dict[str, Any]

_BOUNDS: Final = {
    "minLength": "at least {} long",
    "maxLength": "at most {} long",
    "minimum": "from {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "to {}",
    "exclusiveMaximum": "less than {}",
    "maxItems": "at most {}",
    "maxProperties": "at most {}",
}
_NO_BOUNDS: Final = (("minLength", 0),)
_NO_NUL: Final = r"^[^\x00]*$"


def table(schema: Schema, definitions: dict[str, Schema]) -> str:
    """The members of an object; what other models they hold is linked by the name in lower case."""
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`{' (required)' if name in required else ''}",
            kind(member, definitions),
            bounds(member),
            cell(member.get("description", "")),
        )
        for name, member in schema.get("properties", {}).items()
    ]
    return rows_of(("member", "type", "bounds", "meaning"), rows)


def rows_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without the columns in which there is nothing."""
    kept = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [[head[number] for number in kept], ["---"] * len(kept)]
    lines += [[row[number] for number in kept] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def kind(member: Schema, definitions: dict[str, Schema]) -> str:
    """The type, for people."""
    member = _present(member)
    if "$ref" in member:
        name = member["$ref"].rpartition("/")[2]
        found = definitions[name]
        return kind(found, definitions) if "enum" in found else f"[{name}](#{name.lower()})"
    if "const" in member:
        return f"`{member['const']}`"
    if "enum" in member:
        return ", ".join(f"`{value}`" for value in member["enum"])
    if "anyOf" in member:
        return " or ".join(kind(one, definitions) for one in member["anyOf"])
    match member.get("type"):
        case "array":
            return f"list of {kind(member['items'], definitions)}" if "items" in member else "list"
        case "string":
            return {"date-time": "time", "uuid": "UUID"}.get(member.get("format", ""), "text")
        case "integer":
            return "whole number"
        case "object" if "patternProperties" in member:
            return "names and texts"
        case None:
            return "any JSON"
        case other:
            return str(other)


def bounds(member: Schema) -> str:
    """What is accepted of the type, and what stands for a value that is not there."""
    return ", ".join(_bounds(member))


def _bounds(member: Schema) -> Iterator[str]:
    present = _present(member)
    for name, text in _BOUNDS.items():
        if name in present and (name, present[name]) not in _NO_BOUNDS:
            yield text.format(f"{present[name]:,}")
    if pattern := present.get("pattern"):
        yield "no NUL" if pattern == _NO_NUL else cell(f"`{pattern}`")
    for pattern, value in present.get("patternProperties", {}).items():
        yield cell(f"names `{pattern}`")
        yield f"values {bounds(value)}"
    if "items" in present and (each := bounds(present["items"])):
        yield f"each {each}"
    if present is not member and "description" in present:
        yield cell(present["description"].rstrip("."))
    if member.get("default") not in (None, [], {}):
        yield f"by default `{json.dumps(member['default'])}`"


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return " ".join(text.split()).replace("|", r"\|")


def _present(member: Schema) -> Schema:
    """The schema of a value that is not null."""
    others = [one for one in member.get("anyOf", ()) if one.get("type") != "null"]
    return others[0] if len(others) == 1 else member
