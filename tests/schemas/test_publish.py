"""The published contract is what the code says, and what it shows is true."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from milepost.schemas import publish
from milepost.schemas.binding import Event, decode
from milepost.schemas.events import EVENTS, EventData
from schemas.records import Record
from schemas.strategies import event_data

PUBLISHED = Path(__file__).parents[2] / "schemas" / "published"
EXAMPLES = sorted((PUBLISHED / "examples").glob("milepost.execution.*/*.json"))


def _tree(directory: Path) -> dict[str, bytes]:
    names = (
        "asyncapi.yaml", "topics.json", "identifiers.json", "failures.json", "webhooks.json"
    )  # fmt: skip
    paths = [directory / name for name in names]
    for folder in publish.FOLDERS:
        paths += (directory / folder).rglob("*.json")
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def test_what_is_published_is_what_the_code_says(tmp_path: Path) -> None:
    assert publish.main([str(tmp_path)]) == 0
    committed, generated = _tree(PUBLISHED), _tree(tmp_path)
    drifted = {path for path in committed.keys() | generated.keys()
               if committed.get(path) != generated.get(path)}  # fmt: skip
    assert not drifted, "run `make schemas` and commit what it writes"


def test_what_is_no_longer_generated_is_deleted(tmp_path: Path) -> None:
    publish.write(tmp_path)
    stale = tmp_path / "examples" / "milepost.execution.forgotten.v1" / "binary.json"
    stale.parent.mkdir()
    stale.write_text("{}")
    other = tmp_path / "openapi.json"
    other.write_text("{}")
    assert publish.write(tmp_path).endswith("0 written, 1 deleted")
    assert not stale.parent.exists()
    assert other.exists()


def test_a_folder_with_other_things_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "examples" / "precious.json"
    precious.parent.mkdir()
    precious.write_text("{}")
    assert publish.main([str(tmp_path)]) == 1
    assert "neither empty nor a published contract" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [precious]


def test_a_file_is_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "file"
    target.write_text("")
    assert publish.main([str(target)]) == 1
    assert f"cannot publish to {target}" in capsys.readouterr().err


def test_the_command_line_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as shown:
        publish.main(["--help"])
    assert shown.value.code == 0
    assert "example: python -m milepost.schemas.publish" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        publish.main([])
    assert refused.value.code == 2
    assert "directory" in capsys.readouterr().err


def test_the_contract_does_not_load_the_publishing() -> None:
    code = "import sys, milepost.schemas.binding; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"argparse", "milepost.schemas.publish", "milepost.schemas.examples"} & {*loaded}


def test_every_schema_is_valid() -> None:
    paths = [*PUBLISHED.rglob("*.schema.json")]
    assert len(paths) == len(EVENTS) + len(publish.NOTIFICATIONS)
    for path in paths:
        Draft202012Validator.check_schema(json.loads(path.read_bytes()))


def _validator(type_: str) -> Draft202012Validator:
    path = PUBLISHED / "events" / f"{type_}.schema.json"
    return Draft202012Validator(json.loads(path.read_bytes()))


VALIDATORS = {name: _validator(name) for name in EVENTS}


def _record(document: dict[str, Any]) -> Record:
    headers = [(name, value.encode()) for name, value in document["headers"].items()]
    return Record(document["key"].encode(), json.dumps(document["value"]).encode(), headers)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_is_a_record_of_its_type(path: Path) -> None:
    document = json.loads(path.read_bytes())
    event = decode(_record(document))
    assert isinstance(event, Event), event
    assert event.type == path.parent.name
    structured = "specversion" in document["value"]
    assert structured == ("structured" in path.stem)
    data = document["value"]["data"] if structured else document["value"]
    VALIDATORS[event.type].validate(data)


def test_every_type_has_examples_in_both_modes() -> None:
    for type_ in EVENTS:
        names = {path.stem.rpartition(".")[2] for path in EXAMPLES if path.parent.name == type_}
        assert names == {"binary", "structured"}, type_


@given(event_data)
def test_what_the_models_write_fits_the_published_schema(data: EventData) -> None:
    VALIDATORS[data.type].validate(json.loads(data.model_dump_json(exclude_none=True)))


def test_members_that_are_not_known_are_allowed_but_not_as_labels() -> None:
    requested = VALIDATORS["milepost.execution.requested.v1"]
    data = {"occurred_at": "2026-01-15T09:30:00Z", "operation": "provision", "later": 1}
    assert requested.is_valid(data | {"links": {"later": 1}, "labels": {"team": "shop"}})
    assert not requested.is_valid(data | {"labels": {"": "shop"}})


def test_the_topics_are_published() -> None:
    topics = json.loads((PUBLISHED / "topics.json").read_bytes())["topics"]
    types = {topic["name"]: topic["types"] for topic in topics}
    assert types["milepost.executions.events.v1"] == list(EVENTS)
    assert types["milepost.executions.failed.v1"] == ["milepost.completion.failed.v1"]
