"""The messages of the AsyncAPI document: what is in a record, by the topic that carries it."""

import inspect
from typing import Any, Final, Literal

from pydantic import BaseModel

from milepost.schemas.binding import (
    BINARY,
    MAX_ATTRIBUTE,
    REQUIRED,
    SEQUENCE_PATTERN,
    STRUCTURED,
    TRACEPARENT_PATTERN,
)
from milepost.schemas.events import EVENTS, EventData, Requested
from milepost.schemas.example_notifications import notifications
from milepost.schemas.examples import Example, examples
from milepost.schemas.identifiers import NAMESPACE
from milepost.schemas.json_schemas import shared_schemas
from milepost.schemas.notifications import (
    COMMAND_TYPE,
    COMPLETION_TYPE,
    QUARANTINE_TYPE,
    SOURCE,
    Command,
    Completion,
)
from milepost.schemas.values import TENANT_PATTERN, TERMINAL, UUID_PATTERN, State

Json = dict[str, Any]
Mode = Literal["binary", "structured"]

BINDING_VERSION: Final = "0.5.0"
_EXECUTION_ID: Final = {
    "namespace": str(NAMESPACE),
    "with-key": ["{tenant}", "{operation}", "{idempotency_key}"],
    "without-key": [
        "{tenant}",
        "{operation}",
        {"links": "{links}", "parameters": "{parameters}", "provider": "{provider}"},
    ],
}
_HOW_TO_NAME: Final = """
The execution id (key and subject) is the UUIDv5 of the RFC 8785 canonical JSON of the list in
`x-execution-id`, in that namespace: with an idempotency key of the first, else of the second, where
absent `links` and `parameters` are `{}`, an absent `provider` is null, and only links that are set
are there. A request whose id does not recompute is quarantined. `identifiers.json`, published beside
this document, has test vectors."""
# By the names that they have in CloudEvents.
_ATTRIBUTES: Final[dict[str, Json]] = {
    "specversion": {"const": "1.0"},
    "id": {
        "minLength": 1,
        "maxLength": MAX_ATTRIBUTE,
        "description": "Unique within its source, the same in every copy: drop repeats by it.",
    },
    "source": {
        "minLength": 1,
        "maxLength": MAX_ATTRIBUTE,
        "description": "Who reports, e.g. `/providers/ecs/eu-west-1`.",
    },
    "type": {},
    "time": {
        "format": "date-time",
        "description": "When it was reported; in what Milepost sends, when the event behind it was "
        "recorded. RFC 3339 with an offset.",
    },
    "subject": {"pattern": UUID_PATTERN, "description": "The execution id, which is the key too."},
    "tenantid": {"pattern": TENANT_PATTERN, "description": "Whose execution it is."},
    "sequence": {
        "pattern": SEQUENCE_PATTERN,
        "description": "The publisher's own order among events of the same moment, below 2**63.",
    },
    "traceparent": {"pattern": TRACEPARENT_PATTERN, "description": "W3C Trace Context."},
}
_REQUIRED: Final = ["specversion", *(name.removeprefix("ce_") for name in REQUIRED)]
_QUARANTINE_HEADERS: Final[dict[str, Json]] = {
    "milepost-type": {"const": QUARANTINE_TYPE},
    "milepost-reason": {"description": "Why, as a stable word."},
    "milepost-field": {"description": "Which part of the record is at fault."},
    "milepost-message": {"description": "Why, for people."},
    "milepost-origin": {"description": "Where the record was: topic/partition/offset."},
    "milepost-recorded-at": {"description": "When the broker appended it there."},
    "milepost-omitted-bytes": {
        "description": "Only where the record came compressed and is too large to go on: its size. "
        "Key, value and own headers are left out then; Milepost keeps them."
    },
}


def messages() -> dict[str, dict[str, Json]]:
    """The messages by name, under the topic's name without prefix and version."""
    return {
        "events": _events(),
        "commands": {
            f"command_{name}": _notification(
                COMMAND_TYPE.format(command=name), Command, command=name
            )
            for name in ("start", "cancel")
        },
        **{
            state.value: {
                f"completion_{state.value}": _notification(
                    COMPLETION_TYPE.format(state=state.value), Completion, state=state.value
                )
            }
            for state in State
            if state in TERMINAL
        },
        "quarantine": {"quarantined": _quarantined()},
    }


def components() -> Json:
    """What the messages refer to."""
    models: list[type[BaseModel]] = [*EVENTS.values(), Completion, Command]
    return {
        "schemas": {
            **shared_schemas(models, "#/components/schemas/{model}"),
            "CloudEvent": _object(_ATTRIBUTES, _REQUIRED),
        },
        "messageTraits": {
            "binary": _trait(
                BINARY,
                "$message.header#/ce_subject",
                {f"ce_{name}": schema for name, schema in _ATTRIBUTES.items()},
                [f"ce_{name}" for name in _REQUIRED],
            ),
            "structured": _trait(STRUCTURED, "$message.payload#/subject", {}, ["content-type"]),
        },
        "messageBindings": {
            "execution": _key({"type": "string", "pattern": UUID_PATTERN}),
            "raw": _key(
                {"type": ["string", "null"], "description": "As it was: any bytes or none."}
            ),
        },
    }


def _trait(content_type: bytes, execution: str, headers: Json, required: list[str]) -> Json:
    media_type = content_type.decode()
    pattern = f"^{media_type.replace('+', '[+]')} *(;.*)?$"
    return {
        "contentType": media_type,
        "headers": _object({**headers, "content-type": {"pattern": pattern}}, required),
        "correlationId": {"location": execution, "description": "The execution id."},
        "bindings": {"$ref": "#/components/messageBindings/execution"},
    }


def _key(schema: Json) -> Json:
    return {"kafka": {"key": schema, "bindingVersion": BINDING_VERSION}}


def _object(texts: dict[str, Json], required: list[str]) -> Json:
    """A schema of texts, as headers are."""
    properties = {
        name: schema if "const" in schema else {"type": "string", **schema}
        for name, schema in texts.items()
    }
    return {"type": "object", "required": required, "properties": properties}


def _events() -> dict[str, Json]:
    published = list(examples())
    found = {}
    for type_, data in EVENTS.items():
        name = type_.split(".")[2]
        of_type = [example for example in published if example.type == type_]
        found[name] = _event(data, "binary", of_type)
        found[f"{name}_structured"] = _event(data, "structured", of_type)
    return found


def _event(data: type[EventData], mode: Mode, published: list[Example]) -> Json:
    payload: Json = {"$ref": f"#/components/schemas/{data.__name__}"}
    headers: Json = {"type": "object"}
    if mode == "binary":
        headers["properties"] = {"ce_type": {"const": data.type}}
    else:
        members = {"type": {"const": data.type}, "data": payload}
        envelope = {"type": "object", "required": ["data"], "properties": members}
        payload = {"allOf": [{"$ref": "#/components/schemas/CloudEvent"}, envelope]}
    return {
        "name": data.type,
        "title": f"{data.type} in {mode} mode",
        "summary": _summary(data),
        **(
            {"description": _HOW_TO_NAME.strip(), "x-execution-id": _EXECUTION_ID}
            if data is Requested
            else {}
        ),
        "traits": [{"$ref": f"#/components/messageTraits/{mode}"}],
        "headers": headers,
        "payload": payload,
        "examples": [_example(example) for example in published if example.name.endswith(mode)],
    }


def _example(example: Example) -> Json:
    record = example.document()
    return {"name": example.name, "headers": record["headers"], "payload": record["value"]}


def _notification(type_: str, model: type[Completion | Command], **constant: str) -> Json:
    [(member, value)] = constant.items()
    narrowed = {"type": "object", "properties": {member: {"const": value}}}
    shown = [_example(example) for example in notifications() if example.type == type_]
    return {
        "name": type_,
        "title": type_,
        "summary": _summary(model),
        "traits": [{"$ref": "#/components/messageTraits/binary"}],
        "headers": {
            "type": "object",
            "properties": {"ce_type": {"const": type_}, "ce_source": {"const": SOURCE}},
        },
        "payload": {"allOf": [{"$ref": f"#/components/schemas/{model.__name__}"}, narrowed]},
        **({"examples": shown} if shown else {}),
    }


def _quarantined() -> Json:
    required = [name for name in _QUARANTINE_HEADERS if name != "milepost-omitted-bytes"]
    return {
        "name": QUARANTINE_TYPE,
        "title": QUARANTINE_TYPE,
        "summary": "A record that could not be folded: its key, headers and value as they were, "
        "with why and whence in headers after its own.",
        "contentType": "application/octet-stream",
        "headers": _object(_QUARANTINE_HEADERS, required),
        "payload": {"description": "As it was: any bytes or none."},
        "bindings": {"$ref": "#/components/messageBindings/raw"},
    }


def _summary(model: type[Any]) -> str:
    return (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ")
