"""One call of the HTTP API: its path, its answer as a model, and what can go wrong with it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote

import httpx2
import stamina
from pydantic import BaseModel, ValidationError

from milepost.client.errors import ApiError, ApiUnavailable
from milepost.schemas.notifications import OPEN

Model = TypeVar("Model", bound=BaseModel)

_PASSING: Final = frozenset({429, 502, 503, 504})
_ATTEMPTS: Final = 4
# The API gives a sign of life every 15 seconds; after missing two of them a connection is dead.
_SILENCE_SECONDS: Final = 40.0
_NO_CONTENT: Final = 204
# One event has one execution with all its resources.
_MAX_EVENT_BYTES: Final = 64 * 1024 * 1024


class _Page(BaseModel):
    model_config = OPEN
    items: list[dict[str, Any]]
    next_page_token: str | None = None


class Calls:
    """Calls the API at `url`; `timeout` is in seconds. Raises ApiError and ApiUnavailable."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.AsyncClient(
            base_url=f"{self.url}/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            trust_env=False,
            follow_redirects=False,
        )
        self._timeout = timeout

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(
        self, model: type[Model], path: str, query: Mapping[str, Any], *, held: float = 0
    ) -> Model:
        """`held`: seconds that the API may keep the request waiting."""
        return self.parse(model, await self.send("GET", path, query=query, held=held))

    async def pages(
        self, model: type[Model], path: str, query: Mapping[str, Any]
    ) -> AsyncIterator[Model]:
        """The items of a listing, fetched page by page."""
        token: str | None = None
        while True:
            page = await self.get(_Page, path, {**query, "page_token": token})
            for item in page.items:
                yield self.parse(model, item)
            token = page.next_page_token
            if token is None:
                return

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        held: float = 0,
    ) -> httpx2.Response:
        """The answer to one request, which succeeded. `held`: as for `get`."""
        try:
            answer = await self._http.request(
                method,
                path,
                params=given(query or {}),
                json=body,
                headers=headers,
                timeout=self._timeout + held,
            )
        except httpx2.TimeoutException:
            raise ApiUnavailable(self.url, f"no answer within {self._timeout:g} s") from None
        except httpx2.RequestError as error:
            raise ApiUnavailable(self.url, str(error) or type(error).__name__) from None
        if not answer.is_success:
            self._refuse(answer)
        return answer

    async def send_repeatedly(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[bytes, bytes] | None,
    ) -> httpx2.Response:
        """As `send`, for a request that is the same when it is repeated: also after ApiUnavailable, until
        the time of one request is over."""
        async for attempt in stamina.retry_context(
            on=ApiUnavailable, attempts=_ATTEMPTS, timeout=self._timeout, wait_jitter=0.1
        ):
            with attempt:
                return await self.send(method, path, body=body, headers=headers)
        raise AssertionError("unreachable: the retries end by returning or raising")

    @asynccontextmanager
    async def events(
        self, path: str, query: Mapping[str, Any], last: str
    ) -> AsyncIterator[AsyncIterator[httpx2.ServerSentEvent] | None]:
        """The events of one connection from the id `last` on ("": from now on), None where there are
        no more. Also raises ApiUnavailable, while they are read, for a connection that is lost."""
        try:
            async with self._http.sse(
                path,
                params=given(query),
                headers={"Last-Event-ID": last} if last else {},
                timeout=httpx2.Timeout(self._timeout, read=_SILENCE_SECONDS),
                max_event_size=_MAX_EVENT_BYTES,
            ) as source:
                answer = source.response
                if not answer.is_success:
                    await answer.aread()
                    self._refuse(answer)
                yield None if answer.status_code == _NO_CONTENT else aiter(source)
        except httpx2.RequestError as error:
            raise ApiUnavailable(self.url, str(error) or type(error).__name__) from None

    def _refuse(self, answer: httpx2.Response) -> NoReturn:
        if answer.status_code in _PASSING:
            raise ApiUnavailable(self.url, _passing(answer))
        raise _problem(answer)

    def parse(self, model: type[Model], answer: httpx2.Response | dict[str, Any] | str) -> Model:
        """An answer, an item of one, or the text of an event, as this model."""
        try:
            if isinstance(answer, dict):
                return model.model_validate(answer, extra="ignore")
            text = answer if isinstance(answer, str) else answer.content
            return model.model_validate_json(text, extra="ignore")
        except ValidationError as error:
            reason = f"its answer is no {model.__name__} ({error.errors()[0]['msg']})"
            raise ApiUnavailable(self.url, reason) from None


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def quoted(segment: str) -> str:
    """One segment of a path, whatever is in it."""
    return quote(segment, safe="")


def _passing(answer: httpx2.Response) -> str:
    detail = _problem(answer).detail
    return f"it answered {answer.status_code}" + (f" ({detail})" if detail else "")


def _problem(answer: httpx2.Response) -> ApiError:
    try:
        problem = answer.json()
        assert isinstance(problem, dict)
    except (ValueError, AssertionError):
        problem = {"detail": answer.text[:500] or None}
    return ApiError(
        answer.status_code,
        str(problem.get("type") or "about:blank"),
        str(problem.get("title") or answer.reason_phrase or "error"),
        problem.get("detail"),
    )
