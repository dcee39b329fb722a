"""One call of the HTTP API: its path, its answer as a model, and what can go wrong with it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from milepost.client.errors import ApiError, ApiUnavailable
from milepost.schemas.notifications import OPEN

Model = TypeVar("Model", bound=BaseModel)

_PASSING: Final = frozenset({429, 502, 503, 504})


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
        if answer.status_code in _PASSING:
            raise ApiUnavailable(self.url, _passing(answer))
        if not answer.is_success:
            raise _problem(answer)
        return answer

    def parse(self, model: type[Model], answer: httpx2.Response | dict[str, Any]) -> Model:
        """An answer, or an item of one, as this model."""
        try:
            if isinstance(answer, dict):
                return model.model_validate(answer, extra="ignore")
            return model.model_validate_json(answer.content, extra="ignore")
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
