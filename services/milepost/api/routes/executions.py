"""Executions: ask for one, call one off."""

from typing import Final

from fastapi import APIRouter, Request, Response

from milepost import tracing
from milepost.api import documents, problems
from milepost.api.answers import answer
from milepost.api.bodies import StrictRoute
from milepost.api.broker import SOURCE
from milepost.api.parameters import (
    ExecutionIdInPath,
    IdempotencyKeyHeader,
    Parts,
    TenantInPath,
    TenantInQuery,
    idempotency_key,
)
from milepost.api.problems import ALREADY_TERMINAL, Problem
from milepost.api.views import document, find, unknown
from milepost.schemas.binding import encode
from milepost.schemas.events import CancellationRequested

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
        traceparent=tracing.traceparent(),
    )
    await parts.broker.publish(record, found.tenant)
    headers = {"Location": f"/v1/executions/{execution_id}"}
    return answer(document(parts, found), 202, headers)
