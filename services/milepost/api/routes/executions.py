"""Executions: ask for one, look at it or wait for it, list a tenant's, call one off."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from milepost.api import documents, problems
from milepost.api.answers import answer, freshness
from milepost.api.bodies import StrictRoute
from milepost.api.context import Context
from milepost.api.pages import Pages
from milepost.api.parameters import (
    ExecutionIdInPath,
    IdempotencyKeyHeader,
    IfNoneMatch,
    MinVersion,
    PageQuery,
    Parts,
    TenantInPath,
    TenantInQuery,
    Wait,
    idempotency_key,
    invalid,
    wait_seconds,
)
from milepost.api.problems import ALREADY_TERMINAL, Problem
from milepost.api.views import Found, document, find, unknown
from milepost.projections import queries
from milepost.projections.queries import Wanted
from milepost.projections.view import render
from milepost.schemas.events import CancellationRequested
from milepost.schemas.values import (
    EARLIEST,
    LATEST,
    ExecutionId,
    Links,
    Name,
    State,
    Timestamp,
    Word,
)

router: Final = APIRouter(route_class=StrictRoute, tags=["executions"])

_BODY_PROBLEMS: Final = (
    problems.MALFORMED_BODY,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.INVALID_REQUEST,
)
_OLDEST: Final = (EARLIEST, UUID(int=0))
_NEWEST: Final = (LATEST, UUID(int=2**128 - 1))
_LINKED: Final = "Only executions whose request has this link; at most one of the links."
_pages: Final = Pages[tuple[datetime, UUID]]("executions", tuple[Timestamp, UUID])


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
            *_BODY_PROBLEMS,
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
    now = parts.now()
    requested = body.event(idempotency_key(request), now)
    execution_id, is_new = await parts.ledger.accept(tenant, requested, now)
    found = await find(parts, execution_id, tenant)
    if found is None:  # noted a moment ago
        raise unknown(execution_id)
    headers = {"Location": f"/v1/executions/{execution_id}"}
    return answer(document(parts, found), 202 if is_new else 200, headers)


@router.get(
    "/executions/{execution_id}",
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
            *_BODY_PROBLEMS,
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
    if found.terminal:
        raise Problem(ALREADY_TERMINAL, f"Execution {execution_id} is {found.state} already.")
    told = dict(body) if body else {}
    event = CancellationRequested(occurred_at=parts.now(), **told)
    await parts.broker.publish(event, found.tenant, execution_id)
    headers = {"Location": f"/v1/executions/{execution_id}"}
    return answer(document(parts, found), 202, headers)


class ExecutionsQuery(PageQuery):
    """Which of a tenant's executions, and in which order of their first recorded times."""

    order: Literal["asc", "desc"] = "asc"
    state: State | None = None
    operation: Word | None = None
    provider: Word | None = None
    silent: bool | None = Field(None, description="No event for longer than expected; not over.")
    overdue: bool | None = Field(None, description="Running for longer than expected; not over.")
    supersedes: ExecutionId | None = Field(None, description=_LINKED)
    rollback_of: ExecutionId | None = None
    retry_of: ExecutionId | None = None
    parent: ExecutionId | None = None
    workflow_id: Name | None = None

    def wanted(self) -> Wanted:
        """The filters. Raises RequestValidationError for more links than one."""
        asked = [(name, getattr(self, name)) for name in Links.model_fields]
        links = [link for link in asked if link[1] is not None]
        if len(links) > 1:
            raise invalid("query", links[1][0], f"cannot be combined with {links[0][0]}")
        link = links[0] if links else None
        return Wanted(self.state, self.operation, self.provider, self.silent, self.overdue, link)


@router.get(
    "/tenants/{tenant}/executions",
    response_class=Response,
    responses={
        200: {"model": documents.Executions},
        **problems.responses(
            problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
        ),
    },
)
async def list_executions(
    parts: Parts, tenant: TenantInPath, query: Annotated[ExecutionsQuery, Query()]
) -> Response:
    """All executions of a tenant in chronological order, a page at a time.

    One that is accepted and not folded yet is not in the list.
    """
    newest_first = query.order == "desc"
    question = {"tenant": tenant, **query.question()}
    after = _NEWEST if newest_first else _OLDEST
    if query.page_token is not None:
        after = _pages.after(query.page_token, question)
    async with parts.database.acting_for(tenant) as connection:
        rows = await queries.executions(
            connection,
            tenant,
            newest_first=newest_first,
            after=after,
            limit=query.page_size + 1,
            wanted=query.wanted(),
            heartbeats=parts.settings.heartbeats,
        )
        lag = await queries.lag(connection, parts.topic)
    page = rows[: query.page_size]
    token = None
    if len(rows) > len(page):
        last = page[-1]
        token = _pages.token((last.first_recorded_at, UUID(last.execution_id)), question)
    return answer(
        {
            "items": [render(orjson.loads(row.body)) | row.silence._asdict() for row in page],
            "next_page_token": token,
            "freshness": freshness(lag, parts.now()),
        }
    )
