"""Executions: ask for one, look at it or wait for it, call one off."""

import re
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from milepost.api import documents, problems
from milepost.api.answers import answer
from milepost.api.bodies import StrictRoute
from milepost.api.broker import SOURCE
from milepost.api.context import Context, context_of
from milepost.api.parameters import (
    ExecutionIdInPath,
    IdempotencyKeyHeader,
    IfNoneMatch,
    MinVersion,
    Parts,
    TenantInPath,
    TenantInQuery,
    Wait,
    idempotency_key,
    wait_seconds,
)
from milepost.api.problems import ALREADY_TERMINAL, Problem
from milepost.api.views import Found, document, find, unknown
from milepost.schemas.binding import encode
from milepost.schemas.events import CancellationRequested
from milepost.schemas.values import UUID_PATTERN

_uuid: Final = re.compile(UUID_PATTERN)
router: Final = APIRouter(route_class=StrictRoute, tags=["executions"])


@router.post(
    "/tenants/{tenant}/executions",
    status_code=202,
    response_class=Response,
    responses={
        200: {
            "model": documents.ExecutionAnswer,
            "description": "The same request again; nothing was published.",
        },
        202: {"model": documents.ExecutionAnswer, "description": "Accepted, and on its way."},
        **problems.responses(
            *problems.OF_BODIES,
            problems.KEY_REUSED,
            problems.DATABASE_UNAVAILABLE,
            problems.BROKER_UNAVAILABLE,
        ),
    },
)
async def request_execution(
    request: Request,
    parts: Parts,
    tenant: TenantInPath,
    body: documents.ExecutionRequest,
    _key: IdempotencyKeyHeader = None,
) -> Response:
    """Ask for an operation; the execution id comes back at once, the same for the same request."""
    parts.scope.require_provider(body.provider)
    now = parts.now()
    requested = body.event(idempotency_key(request), now)
    execution_id, is_new = await parts.ledger.accept(tenant, requested, now)
    found = await find(parts, execution_id, tenant)
    if found is None:  # noted a moment ago
        raise unknown(execution_id)
    headers = {"Location": f"/v1/executions/{execution_id}"}
    return answer(document(parts, found), 202 if is_new else 200, headers)


async def read_execution(
    parts: Parts,
    execution_id: ExecutionIdInPath,
    tenant: TenantInQuery = None,
    wait: Wait = None,
    min_version: MinVersion = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One execution as it is now, or with `wait` as soon as there is news of it."""
    seconds = wait_seconds(wait)
    found = await find(parts, execution_id, tenant)
    if seconds:
        found = await _news(parts, execution_id, tenant, found, min_version, seconds)
    if found is None:
        raise unknown(execution_id)
    headers = {"ETag": found.etag}
    if if_none_match is not None and _matches(if_none_match, found.etag):
        return Response(status_code=304, headers=headers)
    return answer(document(parts, found), headers=headers)


class _LookRoute(StrictRoute):
    """A look without parameters is answered past FastAPI, which would take as long for having none as
    everything else takes."""

    async def admitted(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer; what is not that simple takes the usual way."""
        request, execution_id = Request(scope), scope["path_params"]["execution_id"]
        if (
            request.method != "GET"
            or scope["query_string"]
            or "if-none-match" in request.headers
            or not _uuid.fullmatch(execution_id)
        ):
            await super().admitted(scope, receive, send)
            return
        try:
            response = await read_execution(context_of(scope), execution_id)
        except Problem as problem:
            response = problems.response(problem)
        await response(scope, receive, send)


router.add_api_route(
    "/executions/{execution_id}",
    read_execution,
    route_class_override=_LookRoute,
    response_class=Response,
    responses={
        200: {"model": documents.ExecutionAnswer},
        304: {"description": "Nothing is newer than `If-None-Match`."},
        **problems.responses(
            problems.UNKNOWN_EXECUTION,
            problems.INVALID_REQUEST,
            problems.DATABASE_UNAVAILABLE,
            problems.SHUTTING_DOWN,
        ),
    },
)


async def _news(
    parts: Context,
    execution_id: str,
    tenant: str | None,
    found: Found | None,
    min_version: int | None,
    seconds: float,
) -> Found | None:
    """`found`, or what there is of it after waiting for something newer."""
    version = -1 if found is None else found.version
    after = version if min_version is None else min_version - 1
    if version > after or (found is not None and found.terminal):
        return found
    # Whose it is does not change once it is known.
    owner = found.tenant if found is not None and found.requested else tenant
    await parts.watch.newer(execution_id, owner, after, seconds)
    return await find(parts, execution_id, tenant)


def _matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


@router.post(
    "/executions/{execution_id}:cancel",
    status_code=202,
    response_class=Response,
    responses={
        202: {
            "model": documents.ExecutionAnswer,
            "description": "The intent is published; the state stays until the provider reports.",
        },
        **problems.responses(
            problems.UNKNOWN_EXECUTION,
            problems.ALREADY_TERMINAL,
            *problems.OF_BODIES,
            problems.DATABASE_UNAVAILABLE,
            problems.BROKER_UNAVAILABLE,
        ),
    },
)
async def cancel_execution(
    parts: Parts,
    execution_id: ExecutionIdInPath,
    tenant: TenantInQuery = None,
    body: documents.CancellationRequest | None = None,
) -> Response:
    """Ask for an execution to be called off."""
    found = await find(parts, execution_id, tenant)
    if found is None:
        raise unknown(execution_id)
    parts.scope.require_provider(found.view()["provider"])
    if found.terminal:
        raise Problem(ALREADY_TERMINAL, f"Execution {execution_id} is {found.state} already.")
    now, told = parts.now(), dict(body) if body else {}
    record = encode(
        CancellationRequested(occurred_at=now, **told),
        tenant=found.tenant,
        execution_id=execution_id,
        source=SOURCE,
        reported=now,
    )
    await parts.broker.publish(record, found.tenant)
    headers = {"Location": f"/v1/executions/{execution_id}"}
    return answer(document(parts, found), 202, headers)
