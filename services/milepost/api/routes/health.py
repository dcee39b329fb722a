"""Whether this process lives, and whether it can serve."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from milepost.api import broker, documents
from milepost.api import metrics as measured
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer
from milepost.api.context import Context
from milepost.api.guard import GuardedRoute
from milepost.api.parameters import Parts
from milepost.api.problems import Problem
from milepost.client import MilepostError
from milepost.projections import queries

router: Final = APIRouter(route_class=GuardedRoute, tags=["health"])

_CHECK_SECONDS: Final = 3.0


@router.get("/healthz", response_class=Response, responses={200: {"model": documents.Health}})
async def healthz() -> Response:
    """The process lives."""
    return answer({"status": "ok"})


@router.get(
    "/readyz",
    response_class=Response,
    responses={
        200: {"model": documents.Readiness},
        503: {"model": documents.Readiness, "description": "Something is missing."},
    },
)
async def readyz(parts: Parts) -> Response:
    """The database answers and is migrated, the broker answers, and the processors report."""
    document = await readiness(parts)
    return answer(document, 200 if document["ready"] else 503)


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def metrics(parts: Parts) -> Response:
    """What this process counts and measures, in Prometheus' text format."""
    in_use, most = parts.database.connections
    measured.CONNECTIONS.set(in_use)
    measured.CONNECTIONS_MAX.set(most)
    return Response(generate_latest(measured.REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def readiness(parts: Context) -> dict[str, Any]:
    """Every check, all at once: `documents.Readiness`."""
    database, kafka = await asyncio.gather(
        _problem(_check_database(parts)), _problem(_check_broker(parts))
    )
    positions = await _problem(_check_positions(parts)) if database is None else "not known"
    found = {"database": database, "broker": kafka, "positions": positions}
    checks = {name: {"ok": detail is None, "detail": detail} for name, detail in found.items()}
    return {"ready": all(check["ok"] for check in checks.values()), "checks": checks}


async def _problem(check: Awaitable[None]) -> str | None:
    try:
        await check
    except (Problem, MilepostError, _NotFolded) as problem:
        return problem.detail if isinstance(problem, Problem) else str(problem)
    return None


class _NotFolded(Exception):
    """Something keeps the processors from folding what is published."""


async def _check_database(parts: Context) -> None:
    async with parts.database.acting_for(EVERY_TENANT) as connection:
        await queries.verify(connection)


async def _check_broker(parts: Context) -> None:
    await broker.check(parts.settings, _CHECK_SECONDS)


async def _check_positions(parts: Context) -> None:
    async with parts.database.acting_for(EVERY_TENANT) as connection:
        lag = await queries.lag(connection, parts.topic)
    problems = [f"partition {one.partition}: {one.problem}" for one in lag if one.problem]
    if stale := queries.stale(lag, parts.now()):
        problems.append(f"no processor reports on partition {', '.join(map(str, stale))}")
    if problems:
        raise _NotFolded("; ".join(problems))
