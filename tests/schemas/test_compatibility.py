"""What was published stays valid: version 1 never breaks, a version 2 is made instead.

`baseline/` is the contract as last released. A release copies `schemas/published/` over it.
"""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from schemas.compatibility import Schema, breaking_changes

BASELINE = Path(__file__).parent / "baseline"
PUBLISHED = Path(__file__).parents[2] / "schemas" / "published"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _baseline(folder: str) -> list[str]:
    paths = sorted((BASELINE / folder).glob("*.schema.json"))
    assert paths, "a baseline without schemas proves nothing"
    return [path.relative_to(BASELINE).as_posix() for path in paths]


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        *((path, "milepost") for path in _baseline("events")),
        *((path, "consumer") for path in _baseline("notifications")),
    ],
)
def test_a_published_schema_is_never_broken(
    path: str, reader: Literal["milepost", "consumer"]
) -> None:
    assert (PUBLISHED / path).is_file(), f"{path} was published and must stay"
    changes = breaking_changes(_read(BASELINE / path), _read(PUBLISHED / path), reader=reader)
    assert not changes, f"{path} breaks with what was published; make a v2 instead: {changes}"


def test_a_published_identifier_never_changes() -> None:
    before, after = _read(BASELINE / "identifiers.json"), _read(PUBLISHED / "identifiers.json")
    assert after["namespace"] == before["namespace"]
    for function in ("execution_id", "parameters_digest", "fingerprint", "outgoing_id"):
        assert before[function]
        for vector in before[function]:
            assert vector in after[function], f"{function}: {vector} was published and must stay"


def test_a_published_failure_code_stays_and_means_the_same_to_programs() -> None:
    before = {entry["code"]: entry for entry in _read(BASELINE / "failures.json")["failures"]}
    after = {entry["code"]: entry for entry in _read(PUBLISHED / "failures.json")["failures"]}
    assert before
    for code, entry in before.items():
        assert code in after, f"{code} was published and must stay"
        for member in ("category", "origin"):
            assert after[code][member] == entry[member], f"{code} has another {member}"


def _object(**members: Any) -> Schema:
    return {"type": "object", "properties": members, "required": []}


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string", "maxLength": 10, "minLength": 1, "pattern": "^a"}
NUMBER: Schema = {"type": "number", "minimum": 0, "maximum": 100}
WORDS: Schema = {"type": "array", "items": TEXT, "maxItems": 3}
LABELS: Schema = {
    "type": "object",
    "patternProperties": {"^a": TEXT},
    "additionalProperties": False,
}

BREAKS: dict[str, tuple[Schema, Schema, str]] = {
    "a member is removed": (_object(a=TEXT, b=TEXT), _object(a=TEXT), "$.b: removed"),
    "a member within a list is removed": (
        _object(a={"type": "array", "items": _object(b=TEXT)}),
        _object(a={"type": "array", "items": _object()}),
        "$.a[].b: removed",
    ),
    "a member becomes required": (
        _object(a=TEXT),
        _object(a=TEXT) | {"required": ["a"]},
        "$.a: now required",
    ),
    "a new member is required": (
        _object(),
        _object(a=TEXT) | {"required": ["a"]},
        "$.a: now required",
    ),
    "another type": (_object(a=TEXT), _object(a=NUMBER), "$.a: type string no longer accepted"),
    "no more null": (
        _object(a=_optional(TEXT)),
        _object(a=TEXT),
        "$.a: type null no longer accepted",
    ),
    "only integers": (
        _object(a=NUMBER),
        _object(a=NUMBER | {"type": "integer"}),
        "$.a: type number no longer accepted",
    ),
    "fewer choices": ({"enum": ["x", "y"]}, {"enum": ["x"]}, "$: y no longer accepted"),
    "choices at all": (
        {"type": "string"},
        {"type": "string", "enum": ["x"]},
        "$: any value no longer accepted",
    ),
    "a constant": ({"enum": ["x", "y"]}, {"const": "y"}, "$: x no longer accepted"),
    "shorter": (TEXT, TEXT | {"maxLength": 9}, "$: maxLength lowered"),
    "not empty": (TEXT, TEXT | {"minLength": 2}, "$: minLength raised"),
    "smaller": (NUMBER, NUMBER | {"maximum": 99}, "$: maximum lowered"),
    "larger": (NUMBER, NUMBER | {"minimum": 1}, "$: minimum raised"),
    "a bound where none was": ({"type": "number"}, NUMBER, "$: minimum raised"),
    "an exclusive bound": (NUMBER, NUMBER | {"exclusiveMinimum": 0}, "$: exclusiveMinimum raised"),
    "items that may not repeat": (
        WORDS,
        WORDS | {"uniqueItems": True},
        "$: items must be unique",
    ),
    "another item at its place": (
        {"type": "array", "prefixItems": [TEXT, TEXT]},
        {"type": "array", "prefixItems": [TEXT, NUMBER]},
        "$[1]: type string no longer accepted",
    ),
    "fewer items": (WORDS, WORDS | {"maxItems": 2}, "$: maxItems lowered"),
    "narrower items": (
        WORDS,
        WORDS | {"items": TEXT | {"maxLength": 1}},
        "$[]: maxLength lowered",
    ),
    "another pattern": (TEXT, TEXT | {"pattern": "^b"}, "$: pattern changed"),
    "another format": ({"type": "string"}, {"type": "string", "format": "uri"}, "format changed"),
    "a closed object": (
        _object(a=TEXT),
        _object(a=TEXT) | {"additionalProperties": False},
        "$: other members no longer accepted",
    ),
    "other names": (LABELS, LABELS | {"patternProperties": {"^b": TEXT}}, "$: names changed"),
    "within an optional member": (
        _object(a=_optional(_object(b=TEXT))),
        _object(a=_optional(_object(b=TEXT | {"maxLength": 1}))),
        "$.a.b: maxLength lowered",
    ),
    "within a definition": (
        _object(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": TEXT}},
        _object(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": TEXT | {"maxLength": 1}}},
        "$.a: maxLength lowered",
    ),
    "what cannot be compared": (TEXT, TEXT | {"not": {}}, "the keyword not is not compared"),
}

ALLOWED: dict[str, tuple[Schema, Schema]] = {
    "nothing": (_object(a=TEXT), _object(a=TEXT)),
    "a new optional member": (_object(a=TEXT), _object(a=TEXT, b=_optional(TEXT))),
    "no longer required": (_object(a=TEXT) | {"required": ["a"]}, _object(a=TEXT)),
    "null as well": (_object(a=TEXT), _object(a=_optional(TEXT))),
    "all numbers": (NUMBER | {"type": "integer"}, NUMBER),
    "more choices": ({"enum": ["x"]}, {"enum": ["x", "y"]}),
    "longer": (TEXT, TEXT | {"maxLength": 11, "minLength": 0}),
    "wider": (NUMBER, NUMBER | {"minimum": -1, "maximum": 101}),
    "more items": (WORDS, WORDS | {"maxItems": 4}),
    "no pattern": (TEXT, {"type": "string"}),
    "a bound that says nothing": ({"type": "string"}, {"type": "string", "minLength": 0}),
    "an open object": (_object(a=TEXT) | {"additionalProperties": False}, _object(a=TEXT)),
    "words for people": (TEXT, TEXT | {"title": "A", "description": "b", "default": "a"}),
    "a definition instead of its text": (
        _object(a=TEXT),
        _object(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": TEXT}},
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_is_found(name: str) -> None:
    before, after, expected = BREAKS[name]
    changes = breaking_changes(before, after, reader="milepost")
    assert any(expected in change for change in changes), changes


@pytest.mark.parametrize("name", ALLOWED)
def test_an_extension_is_no_break(name: str) -> None:
    before, after = ALLOWED[name]
    assert breaking_changes(before, after, reader="milepost") == []


def test_consumers_may_rely_on_what_was_promised() -> None:
    before = _object(state={"enum": ["a"]}, version=NUMBER) | {"required": ["version"]}
    assert breaking_changes(before, before, reader="consumer") == []
    more = _object(state={"enum": ["a"]}, version=NUMBER, new=TEXT) | {"required": ["version"]}
    assert breaking_changes(before, more, reader="consumer") == []
    wider = _object(state={"enum": ["a", "b"]}, version=NUMBER) | {"required": ["version"]}
    assert breaking_changes(before, wider, reader="consumer")
    optional = _object(state={"enum": ["a"]}, version=NUMBER)
    assert breaking_changes(before, optional, reader="consumer")
