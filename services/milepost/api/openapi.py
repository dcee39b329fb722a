"""What the OpenAPI document says that FastAPI does not know: about access and sets, and in examples."""

import json
from importlib import resources
from typing import Any, Final

from milepost.api.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHORISED, UNKNOWN_TENANT
from milepost.api.problems import responses as problem_responses
from milepost.api.roles import NEEDS

_SCHEME: Final = "bearer"
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"


def describe_access(document: dict[str, Any]) -> None:
    """Add the security scheme, and to each operation the role it needs and how it refuses."""
    document["components"]["securitySchemes"] = {
        _SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`mp_...`) or a JWT of the configured issuer.",
        }
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe(path, operation)


def _describe(path: str, operation: dict[str, Any]) -> None:
    need = NEEDS[operation["operationId"]]
    kinds = [TOO_MANY_REQUESTS]
    if need.role is None:
        operation["security"] = []
    else:
        kinds += [UNAUTHORISED, FORBIDDEN]
        kinds += [UNKNOWN_TENANT] if "{tenant}" in path else []
        operation["security"] = [{_SCHEME: []}]
        operation["x-milepost-role"] = need.role.value
    for status, response in problem_responses(*kinds).items():
        operation["responses"].setdefault(str(status), response)


def give_examples(document: dict[str, Any]) -> None:
    """Add to each answer that succeeds an example: `examples.json` has one of every operation."""
    examples = json.loads(resources.files(__package__).joinpath("examples.json").read_text())
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {}) if status < "300" else {}
                example = examples.get(operation["operationId"])
                if _JSON in content:
                    content[_JSON]["example"] = example
                elif _EVENTS in content:
                    content[_EVENTS]["example"] = "".join(map(_event, example))


def _event(event: dict[str, Any]) -> str:
    """A server-sent event as it is sent."""
    fields = event | {"data": json.dumps(event["data"], separators=(",", ":"), ensure_ascii=False)}
    return "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"


def allow_repeats(node: Any) -> None:
    """Take back that the items of sets must differ: what is said twice counts once."""
    if isinstance(node, dict):
        if node.get("type") == "array":
            node.pop("uniqueItems", None)
        for item in node.values():
            allow_repeats(item)
    elif isinstance(node, list):
        for item in node:
            allow_repeats(item)
