"""A small HTTP API with the real one's contract, whose answers a test decides.

For tests of clients without a processor; the real API has its own tests.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from milepost.schemas.notifications import Execution
from milepost.schemas.values import State


def view(execution_id: str, state: State, version: int, **facts: Any) -> Execution:
    """A view of an execution of acme's."""
    now = datetime.now(UTC)
    given = {"tenant": "acme", "requested": True, "first_recorded_at": now, "recorded_at": now}
    return Execution(
        **{**given, "execution_id": execution_id, "state": state, "version": version, **facts}
    )


class StubApi:
    """Answers `GET /v1/executions/{id}` with what `show` was given, holding long polls like the real
    one, and every other route with what `answers` has for (method, path). `seen` are the requests.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[tuple[str, str], list[Response]] = {}
        self.seen: list[Request] = []
        self._views: dict[str, Execution] = {}
        self._news = asyncio.Condition()
        self._closed = False

    async def close(self) -> None:
        """Send away who waits, as the real one does when it ends."""
        async with self._news:
            self._closed = True
            self._news.notify_all()

    async def show(self, shown: Execution) -> None:
        """From now on the execution looks like this."""
        async with self._news:
            self._views[shown.execution_id] = shown
            self._news.notify_all()

    async def answer(self, request: Request) -> Response:
        """The one endpoint."""
        await request.body()
        self.seen.append(request)
        prepared = self.answers.get((request.method, request.url.path))
        if prepared:
            return prepared.pop(0)
        execution_id = request.url.path.removeprefix("/v1/executions/")
        wait = float(request.query_params.get("wait", "0s").removesuffix("s"))
        newer = int(request.query_params.get("min_version", "0"))

        def is_news() -> bool:
            held = self._views.get(execution_id)
            return self._closed or (held is not None and held.version >= newer)

        async with self._news:
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait_for(is_news)
            except TimeoutError:
                pass
            held = self._views.get(execution_id)
        if self._closed:
            return problem(503, "The API is shutting down")
        if held is None:
            return problem(404, "No such execution")
        return Response(held.model_dump_json(), media_type="application/json")


def problem(status: int, title: str) -> JSONResponse:
    """An RFC 9457 answer."""
    content = {"type": "/problems/test", "title": title, "status": status, "detail": "because"}
    return JSONResponse(content, status, media_type="application/problem+json")


@asynccontextmanager
async def stub_api(port: int = 0) -> AsyncIterator[StubApi]:
    """A StubApi that listens on 127.0.0.1 while the block is open."""
    stub = StubApi()
    routes = [Route("/{path:path}", stub.answer, methods=["GET", "POST"])]
    config = uvicorn.Config(
        Starlette(routes=routes), log_level="error", lifespan="off", ws="none",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    with socket.create_server(("127.0.0.1", port)) as listening:
        stub.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server._serve([listening]))
            try:
                yield stub
            finally:
                await stub.close()
                server.should_exit = True
