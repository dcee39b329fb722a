"""One execution: a look at it, or a wait for news of it. The route that is asked most."""

import re
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from milepost.api import documents, problems
from milepost.api.answers import answer
from milepost.api.bodies import StrictRoute
from milepost.api.context import Context, context_of
from milepost.api.parameters import (
    ExecutionIdInPath,
    IfNoneMatch,
    MinVersion,
    Parts,
    TenantInQuery,
    Wait,
    wait_seconds,
)
from milepost.api.problems import Problem
from milepost.api.views import Found, document, find, unknown
from milepost.schemas.values import UUID_PATTERN

_uuid: Final = re.compile(UUID_PATTERN)


def add(router: APIRouter) -> None:
    """Add the route. The application's own router finds it sooner than one that is included."""
    router.add_api_route(
        "/v1/executions/{execution_id}",
        read_execution,
        route_class_override=_Route,
        tags=["executions"],
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


class _Route(StrictRoute):
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
