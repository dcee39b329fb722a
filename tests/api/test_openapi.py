"""The published OpenAPI document: what the code says, complete, and no break with the one before it.

`baseline/openapi.json` changes only deliberately, like the rest of the baseline of the contract.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from milepost.api import publish
from milepost.api.problems import MEDIA_TYPE
from schemas.compatibility import breaking_changes

ROOT: Final = Path(__file__).parents[2]
PUBLISHED: Final = ROOT / "schemas" / "published" / "openapi.json"
BASELINE: Final = ROOT / "tests" / "schemas" / "baseline" / "openapi.json"
Reader = Literal["milepost", "consumer"]
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation, by its method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    }


def read(file: Path) -> dict[str, Any]:
    """A document whose references are those of a JSON Schema."""
    text = file.read_text().replace("#/components/schemas/", "#/$defs/")
    document: dict[str, Any] = json.loads(text)
    return document


def schemas(operation: dict[str, Any]) -> dict[tuple[str, Reader], dict[str, Any]]:
    """The schema of every JSON that an operation takes and gives, by its place and who reads it."""
    found: dict[tuple[str, Reader], dict[str, Any]] = {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] != "path":
            found[parameter["name"], "milepost"] = parameter["schema"]
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        found[media_type, "milepost"] = body["schema"]
    for status, response in operation["responses"].items():
        for media_type, body in response.get("content", {}).items():
            if "json" in media_type:
                found[status, "consumer"] = body["schema"]
    return found


def broken(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What breaks for clients of the document before."""
    was, now = operations(before), operations(after)
    found = [f"{name}: removed" for name in was.keys() - now.keys()]
    compared: dict[str, list[str]] = {}
    for name in was.keys() & now.keys():
        ours = schemas(now[name])
        for (place, reader), schema in schemas(was[name]).items():
            if (place, reader) not in ours:
                found.append(f"{name}: {place} removed")
                continue
            pair = (schema, ours[place, reader])
            key = json.dumps([*pair, reader])
            if key not in compared:
                held, new = (
                    {**one, "$defs": document["components"]["schemas"]}
                    for one, document in zip(pair, (before, after), strict=True)
                )
                compared[key] = breaking_changes(held, new, reader=reader)
            found += [f"{name} {place} {change}" for change in compared[key]]
        found += [
            f"{name}: {one} now required" for one in required(now[name]) - required(was[name])
        ]
    return sorted(found)


def required(operation: dict[str, Any]) -> set[str]:
    """The parameters that must be there."""
    return {one["name"] for one in operation.get("parameters", ()) if one.get("required")}


DOCUMENT: Final = read(PUBLISHED)


def test_what_is_published_is_what_the_code_says(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    assert publish.main([str(file)]) == 0
    assert file.read_bytes() == PUBLISHED.read_bytes(), "run `make schemas`, commit what it writes"


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.main([str(tmp_path / "none" / "openapi.json")]) == 1
    assert "none/openapi.json" in capsys.readouterr().err


def test_nothing_breaks_for_its_clients() -> None:
    assert broken(read(BASELINE), DOCUMENT) == []


def test_every_schema_is_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", operations(DOCUMENT))
def test_an_operation_is_described(name: str) -> None:
    operation = operations(DOCUMENT)[name]
    assert operation["description"]
    for schema in schemas(operation).values():
        Draft202012Validator.check_schema(schema)
    errors = {code: one for code, one in operation["responses"].items() if code >= "400"}
    for response in errors.values():
        content = response["content"]
        assert set(content) in ({MEDIA_TYPE}, {"application/json"})
        for example in content.get(MEDIA_TYPE, {}).get("examples", {}).values():
            assert example["value"]["type"].startswith("/problems/")
    if name.partition(" ")[2].startswith("/v1"):
        assert {"401", "403", "422", "429", "503"} <= set(errors)


@pytest.mark.parametrize("name", operations(DOCUMENT))
def test_what_it_answers_has_an_example_that_fits(name: str) -> None:
    answers = operations(DOCUMENT)[name]["responses"].items()
    contents = [one.get("content", {}) for status, one in answers if status < "300"]
    bodies = [body for content in contents for body in content.items()]
    assert bodies or name.startswith("DELETE")
    for media_type, body in bodies:
        if media_type == "text/event-stream":
            events = [event.splitlines() for event in body["example"].split("\n\n")[:-1]]
            data = [json.loads(event[-1].removeprefix("data: ")) for event in events]
            schema = body["x-milepost-data"]
            examples = [one for one in data if "execution_id" in one]
        else:
            schema, examples = body["schema"], [body["example"]]
        assert examples
        fits = Draft202012Validator({**schema, "$defs": DOCUMENT["components"]["schemas"]})
        for example in examples:
            fits.validate(example)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda document: document["paths"].pop("/healthz"), "GET /healthz: removed"),
        (
            lambda document: document["components"]["schemas"]["ExecutionRequest"][
                "required"
            ].append("provider"),
            "$.provider: now required",
        ),
        (
            lambda document: document["components"]["schemas"]["ExecutionAnswer"]["properties"].pop(
                "freshness"
            ),
            "$.freshness: removed",
        ),
        (
            lambda document: operations(document)["GET /v1/resources"]["parameters"].pop(0),
            "page_size removed",
        ),
    ],
)
def test_a_break_is_seen(change: Any, sentence: str) -> None:
    document = read(PUBLISHED)
    change(document)
    assert any(sentence in one for one in broken(DOCUMENT, document)), broken(DOCUMENT, document)
