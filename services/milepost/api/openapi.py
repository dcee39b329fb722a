"""What the OpenAPI document says that FastAPI does not know: about access, and about sets."""

from typing import Any

from milepost.api.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHORISED, UNKNOWN_TENANT
from milepost.api.problems import responses as problem_responses
from milepost.api.roles import NEEDS

_SCHEME = "bearer"


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
