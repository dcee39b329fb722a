"""Reading request bodies more strictly than the standard library does."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import pydantic_core
from fastapi import Request, Response
from fastapi.routing import APIRoute

from milepost.api.problems import MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE, Problem
from milepost.schemas.topics import MAX_EVENT_BYTES

MAX_BODY_BYTES: Final = MAX_EVENT_BYTES


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body. What `json.loads` lets through and Postgres does not (NaN, lone surrogates) is
        no JSON here."""
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise Problem(MALFORMED_BODY, str(error)) from None


class StrictRoute(APIRoute):
    """A route whose body is JSON, or absent."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the checks."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if self.body_field is not None and not _is_json(request):
                raise Problem(UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json.")
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type")
    if media_type is None:
        return request.headers.get("content-length", "0") == "0"
    subtype = media_type.partition(";")[0].strip().lower()
    return subtype == "application/json" or subtype.endswith("+json")
