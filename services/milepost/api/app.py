"""The application: routes, problems, and the life of the parts behind them."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from milepost.api import context, documents, problems
from milepost.api.guard import Guard, require_guarded, templates
from milepost.api.observed import Observed
from milepost.api.openapi import allow_repeats, describe_access, give_examples
from milepost.api.problems import ProblemDocument
from milepost.api.routes import (
    api_keys,
    audit,
    deliveries,
    events,
    execution,
    executions,
    health,
    history,
    links,
    listing,
    logs,
    lookup,
    resources,
    streams,
    tenants,
    webhooks,
)
from milepost.settings import Settings

_DESCRIPTION: Final = (
    "Compute provisioning executions: ask for them, follow them, look back on them. Every answer "
    "comes from projections of the event log and says how fresh it is; every error is an RFC 9457 "
    "problem document whose `type` is stable."
)


def create_app(
    settings: Settings,
    now: Callable[[], datetime] = context.utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The API on the Kafka and the Postgres of `settings`.

    `now` gives the current time, `clock` seconds that only grow.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with context.running(settings, now) as parts:
            app.state.context = parts
            app.state.guard = Guard(settings, parts.database, now, clock)
            yield

    app = FastAPI(
        title="Milepost",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        # `Observed` makes the one span of a request, and sends on its context where no span is made.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    execution.add(app.router)
    for routes in (
        executions,
        listing,
        lookup,
        events,
        history,
        logs,
        links,
        streams,
        tenants,
        resources,
        webhooks,
        deliveries,
        api_keys,
        audit,
    ):
        app.include_router(routes.router, prefix="/v1")
    app.include_router(health.router)
    require_guarded(app)
    app.add_middleware(Observed, templates=templates(app))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # as FastAPI documents it
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, shared = models_json_schema(
            [(ProblemDocument, "serialization"), (documents.StreamedExecution, "serialization")],
            ref_template="#/components/schemas/{model}",
        )
        components = app.openapi_schema["components"]
        components["schemas"] = shared["$defs"] | components["schemas"]
        describe_access(app.openapi_schema)
        allow_repeats(app.openapi_schema)
        give_examples(app.openapi_schema)
    return app.openapi_schema
