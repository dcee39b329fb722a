"""What the API answers when it cannot do what was asked: RFC 9457 `application/problem+json`.

The `type` of a problem is stable: clients may decide by it. Texts may change.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final, NamedTuple

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2


class Kind(NamedTuple):
    """A kind of problem: the end of its `type`, its HTTP status, and its title."""

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The `type` member, a reference relative to the API."""
        return f"/problems/{self.name}"


MALFORMED_REQUEST: Final = Kind("malformed-request", 400, "The request is not HTTP")
MALFORMED_BODY: Final = Kind("malformed-body", 400, "The body is not JSON")
INVALID_PAGE_TOKEN: Final = Kind("invalid-page-token", 400, "The page token does not fit")
UNAUTHORISED: Final = Kind("unauthorised", 401, "A valid token is needed")
FORBIDDEN: Final = Kind("forbidden", 403, "The role is too small")
INVALID_EVENT_ID: Final = Kind("invalid-event-id", 400, "The event id does not fit")
NO_SUCH_ROUTE: Final = Kind("no-such-route", 404, "There is nothing at this path")
UNKNOWN_TENANT: Final = Kind("unknown-tenant", 404, "No such tenant")
UNKNOWN_EXECUTION: Final = Kind("unknown-execution", 404, "No such execution")
UNKNOWN_RECORD: Final = Kind("unknown-record", 404, "No such record of this execution")
UNKNOWN_KEY: Final = Kind("unknown-key", 404, "No such API key")
UNKNOWN_WEBHOOK: Final = Kind("unknown-webhook", 404, "No such webhook endpoint")
UNKNOWN_DELIVERY: Final = Kind("unknown-delivery", 404, "No such webhook delivery")
METHOD_NOT_ALLOWED: Final = Kind("method-not-allowed", 405, "The path has no such method")
ALREADY_TERMINAL: Final = Kind("already-terminal", 409, "The execution is over")
TOO_MANY_WEBHOOKS: Final = Kind("too-many-webhooks", 409, "The tenant has enough endpoints")
TOO_MANY_SECRETS: Final = Kind("too-many-secrets", 409, "Enough of the old secrets are valid")
WEBHOOK_DISABLED: Final = Kind("webhook-disabled", 409, "The webhook endpoint is disabled")
RECORD_ARCHIVED: Final = Kind("record-archived", 410, "The record is in an archived month")
EVENT_ID_EXPIRED: Final = Kind("event-id-expired", 410, "What came after the event id is archived")
BODY_TOO_LARGE: Final = Kind("body-too-large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE: Final = Kind("unsupported-media-type", 415, "The body must be JSON")
INVALID_REQUEST: Final = Kind("invalid-request", 422, "The request is not valid")
INVALID_WEBHOOK_URL: Final = Kind("invalid-webhook-url", 422, "Webhooks cannot go to this URL")
KEY_REUSED: Final = Kind("key-reused", 422, "The idempotency key belongs to another request")
TOO_MANY_REQUESTS: Final = Kind("too-many-requests", 429, "Too many requests")
HEAD_TOO_LARGE: Final = Kind("head-too-large", 431, "The headers are too large")
INTERNAL: Final = Kind("internal", 500, "Milepost failed")
DATABASE_UNAVAILABLE: Final = Kind("database-unavailable", 503, "The database is away")
BROKER_UNAVAILABLE: Final = Kind("broker-unavailable", 503, "The broker is away")
ISSUER_UNAVAILABLE: Final = Kind("issuer-unavailable", 503, "The issuer of tokens is away")
WEBHOOKS_NOT_CONFIGURED: Final = Kind("webhooks-not-configured", 503, "There are no webhooks here")
SHUTTING_DOWN: Final = Kind("shutting-down", 503, "The API is shutting down")

# What can be wrong with any body.
OF_BODIES: Final = (MALFORMED_BODY, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST)

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BY_STATUS: Final = {404: NO_SUCH_ROUTE, 405: METHOD_NOT_ALLOWED}


class Problem(HTTPException):
    """Raised anywhere under a route, it becomes the answer. `retry`: in so many seconds it may pass."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        retry: float | None = None,
    ) -> None:
        if retry is None and kind.status == 503:
            # "Away" passes: say when to come again.
            retry = RETRY_SECONDS
        after = {} if retry is None else {"Retry-After": str(ceil(retry))}
        super().__init__(kind.status, detail, {**(headers or {}), **after})
        self.kind = kind
        self.errors = errors


class InvalidValue(BaseModel):
    """One value that is not valid: `pointer` (RFC 6901) into the body, or the parameter's name."""

    detail: str
    pointer: str | None = Field(None, examples=["#/parameters/size"])
    parameter: str | None = Field(None, examples=["page_size"])


class ProblemDocument(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=[UNKNOWN_EXECUTION.type])
    title: str
    status: int
    detail: str
    errors: list[InvalidValue] | None = None


def responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for a route that has these problems."""
    reference = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = found.setdefault(
            kind.status,
            {"description": kind.title, "content": {MEDIA_TYPE: {"schema": reference}}},
        )
        examples = response["content"][MEDIA_TYPE].setdefault("examples", {})
        examples[kind.name] = {
            "value": {"type": kind.type, "title": kind.title, "status": kind.status, "detail": ""}
        }
    return found


def response(problem: Problem) -> Response:
    """The answer that a problem becomes."""
    return _answer(problem.kind, problem.detail, problem.errors, problem.headers)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_failure)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return response(error)
    if error.status_code == 405:
        # Starlette names the methods of the first route that has the path.
        error.headers = {"Allow": ", ".join(_allowed(request))}
    fallback = Kind("http", error.status_code, HTTPStatus(error.status_code).phrase)
    return _answer(_BY_STATUS.get(error.status_code, fallback), error.detail, None, error.headers)


def _allowed(request: Request) -> list[str]:
    """The methods that some route has for the path."""
    routes = request.app.routes
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_invalid(one) for one in error.errors()]
    where = errors[0].get("pointer") or errors[0].get("parameter", "")
    return _answer(INVALID_REQUEST, f"{where}: {errors[0]['detail']}", errors, None)


async def _on_failure(_: Request, error: Exception) -> Response:
    # Starlette raises the error again for the server's log; it is not for strangers.
    return _answer(INTERNAL, "This is our fault; the server's log says more.", None, None)


def _invalid(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = error["loc"]
    if place == "body":
        return {"detail": error["msg"], "pointer": pointer(path)}
    return {"detail": error["msg"], "parameter": ".".join(map(str, path))}


def pointer(path: Sequence[str | int]) -> str:
    """The JSON pointer (RFC 6901, as a URI fragment) of a value in the body."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join(f"/{part}" for part in escaped)


def _answer(
    kind: Kind,
    detail: str,
    errors: Sequence[Mapping[str, str]] | None,
    headers: Mapping[str, str] | None,
) -> Response:
    document: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }
    if errors:
        document["errors"] = errors
    return Response(orjson.dumps(document), kind.status, headers, MEDIA_TYPE)
