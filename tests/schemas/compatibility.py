"""What makes a JSON Schema a break with the one published before it.

Events are read by Milepost: what was accepted must stay accepted, and no member may lose its meaning.
Notifications are read by consumers: what is sent must stay within what was promised.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

Schema = dict[str, Any]

# (lower bounds, upper bounds): a bound that is not there is no bound.
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COMPARED: Final = {
    *_LOWER, *_UPPER, "type", "enum", "const", "pattern", "format", "required", "properties",
    "items", "prefixItems", "uniqueItems", "additionalProperties", "patternProperties", "anyOf",
}  # fmt: skip
_NOTES: Final = {
    "$schema",
    "$id",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "writeOnly",
}
_CONTAINERS: Final = ("properties", "patternProperties")


def breaking_changes(
    before: Schema, after: Schema, *, reader: Literal["milepost", "consumer"]
) -> list[str]:
    """What breaks when `after` takes the place of `before`: a sentence each, none if nothing does."""
    before, after = _inline(before, before), _inline(after, after)
    removed = sorted(_members(before, "$") - _members(after, "$"))
    changes = [f"{member}: removed" for member in removed]
    if reader == "milepost":
        return changes + list(_narrowed(before, after, "$"))
    return changes + [f"{change} (as promised)" for change in _narrowed(after, before, "$")]


def _inline(node: Any, root: Schema) -> Any:
    if isinstance(node, list):
        return [_inline(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(reference := node.get("$ref"), str):
        target = root["$defs"][reference.removeprefix("#/$defs/")]
        node = {**target, **{name: item for name, item in node.items() if name != "$ref"}}
    return {name: _inline(item, root) for name, item in node.items() if name != "$defs"}


def _members(schema: Schema, path: str) -> set[str]:
    found = set()
    for branch in schema.get("anyOf", []):
        found |= _members(branch, path)
    for name, member in schema.get("properties", {}).items():
        found |= {f"{path}.{name}"} | _members(member, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        found |= _members(schema["items"], f"{path}[]")
    return found


def _narrowed(wide: Schema, narrow: Schema, path: str) -> Iterator[str]:
    """Where `narrow` refuses what `wide` accepts."""
    if "anyOf" in wide:
        for branch in wide["anyOf"]:
            yield from _narrowed(branch, narrow, path)
        return
    if "anyOf" in narrow:
        # The branch that comes closest; null comes close to nothing.
        branches = [list(_narrowed(wide, branch, path)) for branch in narrow["anyOf"]]
        alike = [
            found
            for found, branch in zip(branches, narrow["anyOf"], strict=True)
            if branch.get("type") == wide.get("type") or not found
        ]
        yield from min(alike or branches, key=len)
        return
    for keyword in sorted((wide.keys() | narrow.keys()) - _COMPARED - _NOTES):
        # Better than to pass over what may be a break.
        yield f"{path}: the keyword {keyword} is not compared; teach compatibility.py"
    yield from _narrowed_value(wide, narrow, path)
    yield from _narrowed_object(wide, narrow, path)
    if narrow.get("uniqueItems") and not wide.get("uniqueItems"):
        yield f"{path}: items must be unique"
    places = zip(wide.get("prefixItems", ()), narrow.get("prefixItems", ()), strict=False)
    for place, (before, after) in enumerate(places):
        yield from _narrowed(before, after, f"{path}[{place}]")
    if narrow.get("items") is not None:
        yield from _narrowed(wide.get("items", {}), narrow["items"], f"{path}[]")


def _narrowed_value(wide: Schema, narrow: Schema, path: str) -> Iterator[str]:
    if lost := _types(wide) - _types(narrow):
        yield f"{path}: type {'/'.join(sorted(lost))} no longer accepted"
    allowed, kept = _allowed(wide), _allowed(narrow)
    if kept is not None and (allowed is None or not allowed <= kept):
        gone = "any value" if allowed is None else ", ".join(sorted(allowed - kept))
        yield f"{path}: {gone} no longer accepted"
    for keyword in _LOWER:
        if narrow.get(keyword, float("-inf")) > wide.get(keyword, float("-inf")):
            # Lengths and numbers of things start at 0.
            if keyword.startswith("min") and keyword != "minimum" and not narrow[keyword]:
                continue
            yield f"{path}: {keyword} raised"
    for keyword in _UPPER:
        if narrow.get(keyword, float("inf")) < wide.get(keyword, float("inf")):
            yield f"{path}: {keyword} lowered"
    for keyword in ("pattern", "format"):
        if narrow.get(keyword) not in (None, wide.get(keyword)):
            yield f"{path}: {keyword} changed"


def _narrowed_object(wide: Schema, narrow: Schema, path: str) -> Iterator[str]:
    for name in sorted(set(narrow.get("required", [])) - set(wide.get("required", []))):
        yield f"{path}.{name}: now required"
    for container in _CONTAINERS:
        ours, theirs = narrow.get(container, {}), wide.get(container, {})
        for name in sorted(ours.keys() & theirs.keys()):
            yield from _narrowed(theirs[name], ours[name], f"{path}.{name}")
    if (
        gone := wide.get("patternProperties", {}).keys()
        ^ narrow.get("patternProperties", {}).keys()
    ):
        yield f"{path}: names changed ({', '.join(sorted(gone))})"
    ours, theirs = (_additional(schema) for schema in (narrow, wide))
    if ours is False and theirs is not False:
        yield f"{path}: other members no longer accepted"
    elif isinstance(ours, dict):
        yield from _narrowed(theirs if isinstance(theirs, dict) else {}, ours, f"{path}.*")


def _additional(schema: Schema) -> Schema | bool:
    additional: Schema | bool = schema.get("additionalProperties", True)
    return additional


def _types(schema: Schema) -> set[str]:
    anything = ["array", "boolean", "integer", "null", "number", "object", "string"]
    declared = schema.get("type", anything)
    types = {declared} if isinstance(declared, str) else set(declared)
    return types | ({"integer"} if "number" in types else set())


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(value) for value in schema["enum"]} if "enum" in schema else None
