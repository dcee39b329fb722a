"""Reading request bodies more strictly than the standard library does."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final

import pydantic_core
from fastapi import Request, Response

from milepost.api.guard import GuardedRoute
from milepost.api.problems import BODY_TOO_LARGE, MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE, Problem
from milepost.schemas.topics import MAX_EVENT_BYTES

MAX_BODY_BYTES: Final = MAX_EVENT_BYTES


class _StrictRequest(Request):
    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces, up to the limit; not every sender says first how long it is."""
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            yield chunk

    async def json(self) -> Any:
        """The body. What `json.loads` lets through and Postgres does not (NaN, lone surrogates) is
        no JSON here."""
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise Problem(MALFORMED_BODY, str(error)) from None


class StrictRoute(GuardedRoute):
    """A route whose body is JSON, or absent."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the checks."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if self.body_field is not None:
                _check_headers(request)
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


def _check_headers(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    media_type = request.headers.get("content-type")
    if media_type is None and length == "0":
        return
    subtype = (media_type or "").partition(";")[0].strip().lower()
    if subtype != "application/json" and not subtype.endswith("+json"):
        raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json.")


def _too_large() -> Problem:
    return Problem(BODY_TOO_LARGE, f"The body may have {MAX_BODY_BYTES:,} bytes.")
