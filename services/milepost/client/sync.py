"""The SDK for code without an event loop: the same names, the same methods, none of them awaited.

    with Publisher() as publisher:
        run = publisher.request("acme", "provision", provider="ecs", parameters={...})
        run.started()

    with Subscriber(group="billing", states={"failed"}) as completions:
        for completion in completions:
            ...

    with Subscriber(group="billing", states={"failed"}) as completions:
        completions.process(handle, concurrency=16)  # `handle` blocks, in threads

    execution = wait_for(run.execution_id, timeout=600)

Each object runs its asynchronous twin on an event loop in a thread of its own, from `with` to the
end of the block. Arguments, results and errors are those of the twin.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial, wraps
from types import TracebackType
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from milepost.client import execution as handles
from milepost.client import http, publisher, subscriber, waiting, webhook_endpoints
from milepost.client.errors import MilepostError
from milepost.client.processing import on_sigterm
from milepost.schemas.notifications import Completion, Execution
from milepost.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Twin(Generic[T]):
    """Calls the methods of `_twin` on the loop behind `_portal`."""

    _twin: T
    _portal: BlockingPortal | None = None

    def _call(self, method: Callable[[], Coroutine[Any, Any, R]]) -> R:
        if self._portal is None:
            raise MilepostError("not open: use it in a `with` block")
        result: R = self._portal.call(method)
        return result


def _blocking(
    method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[_Twin[T], P], R]:
    @wraps(method)
    def call(self: _Twin[T], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._call(partial(method, self._twin, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[T, P], AsyncIterator[R]],
) -> Callable[Concatenate[_Twin[T], P], Iterator[R]]:
    @wraps(method)
    def call(self: _Twin[T], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        items = method(self._twin, *args, **kwargs)

        async def following() -> R:
            return await anext(items)

        try:
            while True:
                try:
                    item = self._call(following)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            # Whoever stops early must not leave a connection open.
            if isinstance(items, AsyncGenerator) and self._portal is not None:
                self._call(items.aclose)

    return call


class _Block(_Twin[T]):
    """A twin that is open from `with` to the end of the block; made with its twin's arguments."""

    _kind: ClassVar[Callable[..., Any]]
    _stack: ExitStack

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._twin = self._kind(*args, **kwargs)

    def __enter__(self) -> Self:
        assert isinstance(self._twin, AbstractAsyncContextManager)
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._twin))
            self._stack = stack.pop_all()
        self._portal = portal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal = None
        self._stack.__exit__(kind, error, traceback)


class ExecutionHandle(_Twin[handles.ExecutionHandle]):
    """See `milepost.client.ExecutionHandle`."""

    def __init__(self, twin: handles.ExecutionHandle, publisher: "Publisher") -> None:
        self._twin = twin
        self._publisher = publisher
        self.tenant = twin.tenant
        self.execution_id = twin.execution_id
        self.event_id = twin.event_id

    def _call(self, method: Callable[[], Coroutine[Any, Any, R]]) -> R:
        return self._publisher._call(method)

    publish = _blocking(handles.ExecutionHandle.publish)
    started = _blocking(handles.ExecutionHandle.started)
    progressed = _blocking(handles.ExecutionHandle.progressed)
    succeeded = _blocking(handles.ExecutionHandle.succeeded)
    failed = _blocking(handles.ExecutionHandle.failed)
    cancelled = _blocking(handles.ExecutionHandle.cancelled)


def _handle(
    method: Callable[
        Concatenate[publisher.Publisher, P], Coroutine[Any, Any, handles.ExecutionHandle]
    ],
) -> Callable[Concatenate["Publisher", P], ExecutionHandle]:
    @wraps(method)
    def call(self: "Publisher", /, *args: P.args, **kwargs: P.kwargs) -> ExecutionHandle:
        run = self._call(partial(method, self._twin, *args, **kwargs))
        return ExecutionHandle(run, self)

    return call


class Publisher(_Block[publisher.Publisher]):
    """See `milepost.client.Publisher`."""

    _kind = publisher.Publisher

    request = _handle(publisher.Publisher.request)
    cancel = _blocking(publisher.Publisher.cancel)
    publish = _blocking(publisher.Publisher.publish)
    publish_cloudevent = _blocking(publisher.Publisher.publish_cloudevent)
    publish_record = _blocking(publisher.Publisher.publish_record)
    flush = _blocking(publisher.Publisher.flush)

    def execution(self, tenant: str, execution_id: str) -> ExecutionHandle:
        """See `milepost.client.Publisher.execution`."""
        return ExecutionHandle(self._twin.execution(tenant, execution_id), self)


class Subscriber(_Block[subscriber.Subscriber]):
    """See `milepost.client.Subscriber`."""

    _kind = subscriber.Subscriber

    def __iter__(self) -> Self:
        aiter(self._twin)
        return self

    def __next__(self) -> Completion:
        try:
            return self._call(self._twin.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def process(self, handle: Callable[[Completion], object], *, concurrency: int = 16) -> None:
        """See `milepost.client.Subscriber.process`; `handle` blocks, in up to `concurrency` threads.

        Ctrl-C ends it in the same good order, then raises KeyboardInterrupt. A thread cannot be
        cancelled: one that outlives its `grace` runs on, and its completion comes again.
        """
        portal = self._portal
        if portal is None:
            raise MilepostError("not open: use it in a `with` block")
        threads = CapacityLimiter(concurrency)

        async def in_thread(completion: Completion) -> None:
            await to_thread.run_sync(handle, completion, abandon_on_cancel=True, limiter=threads)

        ended = portal.start_task_soon(
            partial(self._twin.process, in_thread, concurrency=concurrency)
        )
        try:
            with on_sigterm(lambda: portal.start_task_soon(self._twin.stop)):
                ended.result()
        except KeyboardInterrupt:
            portal.call(self._twin.stop)
            ended.result()
            raise

    def stop(self) -> None:
        """End `process` in good order; it returns then. Call it from another thread."""
        self._call(self._stop)

    async def _stop(self) -> None:
        self._twin.stop()


def wait_for(
    execution_id: str,
    timeout: float = 60,
    *,
    tenant: str | None = None,
    settings: Settings | None = None,
) -> Execution:
    """See `milepost.client.wait_for`."""
    waited = partial(waiting.wait_for, execution_id, timeout, tenant=tenant, settings=settings)
    with start_blocking_portal() as portal:
        return portal.call(waited)


class WebhookEndpoints(_Twin[webhook_endpoints.WebhookEndpoints]):
    """See `milepost.client.MilepostClient.webhooks`."""

    def __init__(self, client: "MilepostClient") -> None:
        self._twin = client._twin.webhooks
        self._client = client

    def _call(self, method: Callable[[], Coroutine[Any, Any, R]]) -> R:
        return self._client._call(method)

    create = _blocking(webhook_endpoints.WebhookEndpoints.create)
    endpoints = _blocking(webhook_endpoints.WebhookEndpoints.endpoints)
    endpoint = _blocking(webhook_endpoints.WebhookEndpoints.endpoint)
    change = _blocking(webhook_endpoints.WebhookEndpoints.change)
    delete = _blocking(webhook_endpoints.WebhookEndpoints.delete)
    secret = _blocking(webhook_endpoints.WebhookEndpoints.secret)
    rotate_secret = _blocking(webhook_endpoints.WebhookEndpoints.rotate_secret)
    test = _blocking(webhook_endpoints.WebhookEndpoints.test)
    deliveries = _iterating(webhook_endpoints.WebhookEndpoints.deliveries)
    delivery = _blocking(webhook_endpoints.WebhookEndpoints.delivery)
    redeliver = _blocking(webhook_endpoints.WebhookEndpoints.redeliver)
    redeliver_since = _blocking(webhook_endpoints.WebhookEndpoints.redeliver_since)


class MilepostClient(_Block[http.MilepostClient]):
    """See `milepost.client.MilepostClient`."""

    _kind = http.MilepostClient

    request = _blocking(http.MilepostClient.request)
    cancel = _blocking(http.MilepostClient.cancel)
    execution = _blocking(http.MilepostClient.execution)
    look_up = _blocking(http.MilepostClient.look_up)
    wait = _blocking(http.MilepostClient.wait)
    transitions = _blocking(http.MilepostClient.transitions)
    resources = _blocking(http.MilepostClient.resources)
    orphans = _blocking(http.MilepostClient.orphans)
    resource_history = _blocking(http.MilepostClient.resource_history)
    links = _blocking(http.MilepostClient.links)
    updates = _iterating(http.MilepostClient.updates)
    stream = _iterating(http.MilepostClient.stream)
    stream_tenant = _iterating(http.MilepostClient.stream_tenant)
    logs = _iterating(http.MilepostClient.logs)
    executions = _iterating(http.MilepostClient.executions)

    @property
    def webhooks(self) -> WebhookEndpoints:
        """See `milepost.client.MilepostClient`."""
        return WebhookEndpoints(self)
