"""Asking the HTTP API: executions, their history and logs, a tenant's executions and resources."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

from pydantic import BaseModel

from milepost.client.api_keys import ApiKeys
from milepost.client.calls import Calls, given, quoted
from milepost.client.errors import ApiError, ApiUnavailable, InvalidEvent, WaitTimeout
from milepost.client.logs import LogEntry, log_lines
from milepost.client.streams import StreamedExecution, Streams
from milepost.client.webhook_endpoints import WebhookEndpoints
from milepost.schemas.notifications import OPEN, Execution, Transition, ViewedResource
from milepost.schemas.values import TERMINAL, Level, State
from milepost.settings import Settings

# One request of a long poll; the API holds it no longer than that.
_POLL_SECONDS: Final = 30
_RETRY_SECONDS: Final = 0.5
# As many as the API looks up in one request.
_LOOK_UP: Final = 500


class TenantResource(ViewedResource):
    """A resource of a tenant, the execution that reports it, and when the broker got to know.

    `action`, in a history only: made, changed or released.
    """

    tenant: str
    execution_id: str
    operation: str | None = None
    state: State | None = None
    recorded_at: datetime
    action: str | None = None


class LinkedExecution(BaseModel):
    """An execution at the other end of a link; what is not known of it is None."""

    model_config = OPEN
    relation: str
    execution_id: str
    operation: str | None = None
    state: State | None = None


class ExecutionLinks(BaseModel):
    """The executions that one names in its links, and those that name it in theirs."""

    model_config = OPEN
    workflow_id: str | None = None
    outgoing: tuple[LinkedExecution, ...] = ()
    incoming: tuple[LinkedExecution, ...] = ()
    next_page_token: str | None = None


class _Found(BaseModel):
    model_config = OPEN
    items: tuple[Execution, ...]
    left_out: tuple[str, ...] = ()


class MilepostClient:
    """A client of the HTTP API.

        async with MilepostClient(url, token) as milepost:
            execution = await milepost.wait(execution_id, timeout=60)

    Args:
        url: where the API is, e.g. `http://127.0.0.1:8080`; by default `MILEPOST_API_URL`.
        token: the bearer token; by default, where `url` is the default too, `MILEPOST_TOKEN`. It is
            sent to `url` only: redirects are not followed, proxies and credentials in the
            environment are ignored.
        timeout: seconds that one request may take.

    `webhooks` manages the webhooks of tenants, `api_keys` keys. Methods raise ApiError for what the
    API refuses (`status` 404: no such execution, or not this token's to see) and ApiUnavailable when
    it does not answer.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 10
    ) -> None:
        settings = Settings()
        if token is None and url is None:
            token = settings.bearer
        self._calls = Calls(url or settings.api_url, token, timeout)
        self.url = self._calls.url
        self.webhooks = WebhookEndpoints(self._calls)
        self.api_keys = ApiKeys(self._calls)
        self._streams = Streams(self._calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._calls.close()

    async def request(
        self,
        tenant: str,
        operation: str,
        *,
        provider: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        key: str | None = None,
        labels: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
        expectations: Mapping[str, float] | None = None,
        requested_by: str | None = None,
    ) -> Execution:
        """Ask for an operation; the same key and body give the same execution.

        So it is asked for again, a few times, where the API does not answer or only with a passing
        trouble.
        """
        body = {
            "operation": operation,
            "provider": provider,
            "parameters": parameters,
            "labels": labels,
            "links": links,
            "expectations": expectations,
            "requested_by": requested_by,
        }
        path = f"/tenants/{quoted(tenant)}/executions"
        headers = None if key is None else {b"Idempotency-Key": _header("key", key)}
        answer = await self._calls.send_repeatedly("POST", path, given(body), headers)
        return self._calls.parse(Execution, answer)

    async def cancel(
        self,
        execution_id: str,
        *,
        reason: str | None = None,
        requested_by: str | None = None,
        tenant: str | None = None,
    ) -> Execution:
        """Ask for an execution to be called off. ApiError 409: it is over already."""
        body = {"reason": reason, "requested_by": requested_by}
        path = f"/executions/{quoted(execution_id)}:cancel"
        answer = await self._calls.send("POST", path, query={"tenant": tenant}, body=given(body))
        return self._calls.parse(Execution, answer)

    async def execution(self, execution_id: str, *, tenant: str | None = None) -> Execution:
        """What is known about an execution now."""
        return await self._calls.get(
            Execution, f"/executions/{quoted(execution_id)}", {"tenant": tenant}
        )

    async def look_up(
        self, execution_ids: Iterable[str], *, tenant: str | None = None
    ) -> dict[str, Execution]:
        """Many executions by their ids, in that order; without those that are not known."""
        ids = list(dict.fromkeys(execution_ids))
        found: dict[str, Execution] = {}
        while ids:
            asked, ids = ids[:_LOOK_UP], ids[_LOOK_UP:]
            answer = await self._calls.send(
                "POST", "/executions:lookup", query={"tenant": tenant}, body={"ids": asked}
            )
            page = self._calls.parse(_Found, answer)
            found |= {execution.execution_id: execution for execution in page.items}
            ids = [*page.left_out, *ids]
        return found

    async def updates(
        self, execution_id: str, *, tenant: str | None = None
    ) -> AsyncIterator[Execution]:
        """The execution now, then each newer version of it, until it is over.

        Waits for one that is not known yet, and for an API that is away.
        """
        async for look in self._looks(execution_id, tenant):
            if isinstance(look, Execution):
                yield look

    def stream(
        self, execution_id: str, *, tenant: str | None = None
    ) -> AsyncIterator[StreamedExecution]:
        """The execution now, then each change of it as it comes, until it is over.

        As `updates`, but without asking again and again, and for one that the API knows. An API that is
        away is waited for; a connection that breaks is made again.
        """
        return self._streams.execution(execution_id, tenant)

    def stream_tenant(
        self,
        tenant: str,
        *,
        states: Collection[State] = (),
        operation: str | None = None,
        on_ready: Callable[[], object] = lambda: None,
    ) -> AsyncIterator[StreamedExecution]:
        """A tenant's executions in flight (the 500 newest at most), then each change of any of its
        executions, without an end.

        `on_ready` is called between the two. With `states` only what is in one of them: for `TERMINAL`,
        each end from then on. Nothing is missed where the connection breaks or the API is away; a view
        may come twice.
        """
        return self._streams.tenant(tenant, states, operation, on_ready)

    async def wait(
        self,
        execution_id: str,
        timeout: float = 60,  # noqa: ASYNC109  # the public shape
        *,
        tenant: str | None = None,
    ) -> Execution:
        """The execution when it is over. Raises WaitTimeout after `timeout` seconds.

        An execution that is not known yet, and an API that is being restarted, are waited for;
        ApiUnavailable is raised where the API was away when the time was over.
        """
        look: Execution | ApiError | ApiUnavailable | None = None
        try:
            async with asyncio.timeout(timeout):
                async for seen in self._looks(execution_id, tenant):
                    look = seen
        except TimeoutError:
            if isinstance(look, ApiUnavailable):
                raise look from None
            state = look.state if isinstance(look, Execution) else None
            raise WaitTimeout(execution_id, timeout, state) from None
        assert isinstance(look, Execution)
        return look

    async def transitions(
        self, execution_id: str, *, tenant: str | None = None
    ) -> list[Transition]:
        """How it came into its states, in order, each with its three times."""
        path = f"/executions/{quoted(execution_id)}/transitions"
        return [one async for one in self._calls.pages(Transition, path, {"tenant": tenant})]

    def logs(
        self,
        execution_id: str,
        *,
        tenant: str | None = None,
        level: Level = Level.DEBUG,
        tail: int | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogEntry]:
        """Its log lines of this severity or a higher one in order, fetched page by page.

        With `tail` only those among the last so many (500 at most). With `follow` also those that come,
        until the execution is over; an API that is away is waited for then.
        """
        return log_lines(self._calls, execution_id, tenant, level, tail, follow=follow)

    async def executions(
        self,
        tenant: str,
        *,
        state: State | str | None = None,
        operation: str | None = None,
        provider: str | None = None,
        labels: Mapping[str, str] | None = None,
        first_recorded_since: datetime | None = None,
        first_recorded_before: datetime | None = None,
        ended_since: datetime | None = None,
        ended_before: datetime | None = None,
        id_prefix: str | None = None,
        silent: bool | None = None,
        overdue: bool | None = None,
        conflicting: bool | None = None,
        link: tuple[str, str] | None = None,
        order: Literal["asc", "desc"] = "asc",
        page_size: int = 100,
    ) -> AsyncIterator[Execution]:
        """A tenant's executions in chronological order, fetched page by page.

        Times are aware: from, and before. `id_prefix` is at least the first four digits. `link` is a
        relation and what it must lead to, e.g. `("workflow_id", "release-7")`.
        """
        times = {
            "first_recorded_since": first_recorded_since,
            "first_recorded_before": first_recorded_before,
            "ended_since": ended_since,
            "ended_before": ended_before,
        }
        filters = {
            "state": state,
            "operation": operation,
            "provider": provider,
            "label": [f"{name}={value}" for name, value in (labels or {}).items()],
            **{name: time.isoformat() for name, time in times.items() if time is not None},
            "id_prefix": id_prefix,
            "silent": silent,
            "overdue": overdue,
            "conflicting": conflicting,
            **({link[0]: link[1]} if link else {}),
            "order": order,
            "page_size": page_size,
        }
        async for execution in self._calls.pages(
            Execution, f"/tenants/{quoted(tenant)}/executions", filters
        ):
            yield execution

    async def resources(self, tenant: str) -> list[TenantResource]:
        """The resources of a tenant."""
        path = f"/tenants/{quoted(tenant)}/resources"
        return [one async for one in self._calls.pages(TenantResource, path, {})]

    async def orphans(self, tenant: str) -> list[TenantResource]:
        """What a tenant's failed and cancelled executions left behind, and nobody has touched since."""
        path = f"/tenants/{quoted(tenant)}/orphans"
        return [one async for one in self._calls.pages(TenantResource, path, {})]

    async def resource_history(
        self,
        kind: str,
        resource_id: str,
        *,
        provider: str | None = None,
        region: str | None = None,
    ) -> list[TenantResource]:
        """Which executions made, changed and released a resource, in the order of time."""
        query = {"kind": kind, "id": resource_id, "provider": provider, "region": region}
        return [one async for one in self._calls.pages(TenantResource, "/resources", query)]

    async def links(self, execution_id: str, *, tenant: str | None = None) -> ExecutionLinks:
        """The executions that this one names in its links, and all that name it in theirs."""
        path = f"/executions/{quoted(execution_id)}/links"
        incoming: tuple[LinkedExecution, ...] = ()
        token: str | None = None
        while True:
            page = await self._calls.get(
                ExecutionLinks, path, {"tenant": tenant, "page_token": token}
            )
            incoming += page.incoming
            token = page.next_page_token
            if token is None:
                return page.model_copy(update={"incoming": incoming})

    async def _looks(
        self, execution_id: str, tenant: str | None
    ) -> AsyncIterator[Execution | ApiError | ApiUnavailable]:
        """Every newer version until the execution is over, and between them what was in the way."""
        path = f"/executions/{quoted(execution_id)}"
        # From the first version on: it may appear between two looks.
        query: dict[str, Any] = {"tenant": tenant, "min_version": 0}
        while True:
            asked = time.monotonic()
            held = _POLL_SECONDS if "wait" in query else 0
            news = False
            try:
                view = await self._calls.get(Execution, path, query, held=held)
            except (ApiError, ApiUnavailable) as error:
                if isinstance(error, ApiError) and error.status != 404 and error.status < 500:
                    raise
                yield error
            else:
                if news := view.version >= query["min_version"]:
                    query["min_version"] = view.version + 1
                    yield view
                if view.state in TERMINAL:
                    return
            if held and not news and time.monotonic() - asked < _RETRY_SECONDS:
                # The API did not hold this request back: do not insist.
                await asyncio.sleep(_RETRY_SECONDS)
            query["wait"] = f"{_POLL_SECONDS}s"


def _header(field: str, value: str) -> bytes:
    """UTF-8, as the API reads it. HTTP itself cannot carry control characters or outer blanks."""
    if not value.isprintable() or value != value.strip():
        raise InvalidEvent(field, "must not have control characters, or blanks at its ends")
    return value.encode()
