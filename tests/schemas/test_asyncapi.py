"""The AsyncAPI document says all that the contract says, and works alone."""

import json
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid5

import pytest
import rfc8785
from pydantic_asyncapi import AsyncAPI

from milepost.schemas.events import EVENTS
from milepost.schemas.topics import Topics
from milepost.schemas.values import TERMINAL
from schemas.asyncapi_document import PUBLISHED, Document, Message
from schemas.compatibility import breaking_changes

BASELINE = Path(__file__).parent / "baseline" / "asyncapi.yaml"
# What says nothing about a value: draft 07 does not look at what stands beside a `$ref`.
NOTES = {"$ref", "default", "description"}

document = Document()
OPERATIONS = {name: document.operation(name) for name in document.tree["operations"]}
MESSAGES = [message for operation in OPERATIONS.values() for message in operation.messages]
EXAMPLES = [(message, example) for message in MESSAGES for example in message.examples]

VECTORS = json.loads((PUBLISHED.parent / "identifiers.json").read_bytes())["execution_id"]


def test_it_is_asyncapi_3() -> None:
    read = AsyncAPI.model_validate(document.tree).root
    assert read.asyncapi == "3.0.0"
    assert read.channels is not None
    assert len(read.channels) == len(Topics().declared())


def test_every_reference_is_answered_and_says_nothing_beside() -> None:
    references = list(document.references())
    assert references
    for reference in references:
        assert isinstance(document.follow(reference), dict), reference
        assert reference.keys() <= NOTES, reference


def test_no_component_is_left_over() -> None:
    used = {reference["$ref"] for reference in document.references()}
    for kind, components in document.tree["components"].items():
        for name in components:
            assert f"#/components/{kind}/{name}" in used


def test_every_topic_is_a_channel_with_its_configuration() -> None:
    channels = document.tree["channels"].values()
    bindings = [channel["bindings"]["kafka"] for channel in channels]
    declared = {topic.name: topic.config() for topic in Topics().declared()}
    assert [binding["topic"] for binding in bindings] == list(declared)
    for binding in bindings:
        configuration = binding["topicConfiguration"]
        plain = {**configuration, "cleanup.policy": ",".join(configuration["cleanup.policy"])}
        assert {name: str(value) for name, value in plain.items()} == declared[binding["topic"]]


def test_every_channel_has_one_operation_with_all_its_messages() -> None:
    assert {operation.topic for operation in OPERATIONS.values()} == {
        topic.name for topic in Topics().declared()
    }
    for name, operation in document.tree["operations"].items():
        channel = document.follow(operation["channel"])
        assert name == f"{operation['action']}_{operation['channel']['$ref'].split('/')[-1]}"
        assert len(operation["messages"]) == len(channel["messages"])


def test_the_prefix_is_the_deployment_s() -> None:
    operation = document.operation("receive_failed", prefix="eu.")
    assert operation.topic == Topics("eu.").completions("failed")


def test_every_type_of_the_contract_is_there() -> None:
    sent = [(message.name, message.content_type) for message in OPERATIONS["send_events"].messages]
    modes = ("application/json", "application/cloudevents+json")
    assert sent == [(type_, mode) for type_ in EVENTS for mode in modes]
    received = {message.name for message in MESSAGES} - EVENTS.keys()
    assert received == {
        "milepost.command.start.v1",
        "milepost.command.cancel.v1",
        "milepost.quarantine.v1",
        *(f"milepost.completion.{state}.v1" for state in TERMINAL),
    }


def test_all_published_examples_are_shown() -> None:
    published = (PUBLISHED.parent / "examples").glob("*/*.json")
    assert len(EXAMPLES) == len(list(published))


@pytest.mark.parametrize(
    ("message", "example"), EXAMPLES, ids=[f"{m.name}-{e['name']}" for m, e in EXAMPLES]
)
def test_an_example_is_what_its_message_says(message: Message, example: dict[str, Any]) -> None:
    message.headers.validate(example["headers"])
    message.payload.validate(example["payload"])
    binary = message.content_type == "application/json"
    where = example["headers"] if binary else example["payload"]
    location = message.tree["correlationId"]["location"]
    assert location == f"$message.{'header#/ce_subject' if binary else 'payload#/subject'}"
    message.key.validate(where[location.rpartition("/")[2]])


def test_an_example_is_no_other_message() -> None:
    for message, example in EXAMPLES:
        fitting = [
            other
            for other in MESSAGES
            if other.headers.is_valid(example["headers"])
            and other.payload.is_valid(example["payload"])
        ]
        assert fitting == [message]


@pytest.mark.parametrize(
    "without", ["ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_tenantid"]
)
def test_a_required_header_is_missed(without: str) -> None:
    message, example = next(one for one in EXAMPLES if one[0].content_type == "application/json")
    headers = {name: value for name, value in example["headers"].items() if name != without}
    assert not message.headers.is_valid(headers)


def _filled(rule: Any, given: dict[str, Any]) -> Any:
    match rule:
        case list():
            return [_filled(item, given) for item in rule]
        case dict():
            return {name: _filled(item, given) for name, item in rule.items()}
    return given[rule.strip("{}")]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_execution_id_is_computed_as_the_document_says(vector: dict[str, Any]) -> None:
    rule = document.tree["components"]["messages"]["requested"]["x-execution-id"]
    given = {
        **vector,
        "idempotency_key": vector["key"],
        "parameters": vector["parameters"] or {},
        "links": vector["links"] or {},
    }
    identity = _filled(rule["without-key" if vector["key"] is None else "with-key"], given)
    named = uuid5(UUID(rule["namespace"]), rfc8785.dumps(identity).decode())
    assert str(named) == vector["execution_id"]


@pytest.mark.parametrize(
    ("component", "published"),
    [
        *((data.__name__, f"events/{type_}") for type_, data in EVENTS.items()),
        ("Completion", "notifications/completion.v1"),
        ("Command", "notifications/command.v1"),
    ],
)
def test_payloads_are_the_published_json_schemas(component: str, published: str) -> None:
    text = json.dumps(document.tree["components"]["schemas"])
    shared = json.loads(text.replace("#/components/schemas/", "#/$defs/"))
    ours = {"$ref": f"#/$defs/{component}", "$defs": shared}
    theirs = json.loads((PUBLISHED.parent / f"{published}.schema.json").read_bytes())
    assert breaking_changes(ours, theirs, reader="milepost") == []
    assert breaking_changes(theirs, ours, reader="milepost") == []


def test_what_was_published_stays() -> None:
    before = Document(BASELINE)
    for name in before.tree["operations"]:
        old, new = before.operation(name), document.operation(name)
        assert (new.action, new.topic) == (old.action, old.topic)
        kept = {(message.name, message.content_type): message for message in new.messages}
        reader: Literal["milepost", "consumer"]
        reader = "milepost" if old.action == "send" else "consumer"
        for message in old.messages:
            headers = kept[message.name, message.content_type].tree["headers"]
            assert breaking_changes(message.tree["headers"], headers, reader=reader) == []
