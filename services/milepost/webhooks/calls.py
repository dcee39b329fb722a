"""One call of a tenant's endpoint, and what became of it. Whatever the other side does, it ends in time.

No redirects, no proxies, no cookies, no credentials: httpcore2 knows none of them. It is used directly
because it takes the guarded network as an argument, which the transports of httpx2 do not.
"""

import asyncio
import codecs
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self
from weakref import WeakValueDictionary

import httpcore2
import httpx2

from milepost.webhooks.addresses import Network
from milepost.webhooks.guard import GuardedNetwork, Refused, Resolve, target

# Shorter than servers keep idle connections: a message must not meet one that is just being closed.
_KEPT_SECONDS: Final = 2
_LONGEST_RETRY_SECONDS: Final = 86_400
# What the other side can cause. ssl.SSLError, after the handshake, and TimeoutError are OSErrors.
_TROUBLES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.RemoteProtocolError,
    OSError,
)


@dataclass(frozen=True)
class Limits:
    """What calls may take.

    Attributes:
        connect_seconds: to wait for a turn at the host, to reach it, and for TLS: each as long.
        total_seconds: from the turn until the answer; what has come of its body by then counts.
        per_host: calls of one host at once.
        calls: calls at once.
        answer_bytes: how much of an answer's body is read.
    """

    connect_seconds: float = 5
    total_seconds: float = 15
    per_host: int = 20
    calls: int = 200
    answer_bytes: int = 1024


@dataclass(frozen=True)
class Answer:
    """What became of a call.

    Attributes:
        duration_seconds: how long the call took, the wait for its turn left out.
        status_code: of the answer; None when there was none.
        error: why there was none, or why it does not count, in words for the endpoint's owner.
        retry_after_seconds: when the endpoint wants to be called again, at most a day.
        text: the beginning of the answer's body, printable.
    """

    duration_seconds: float
    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None
    text: str | None = None


@dataclass
class _Reply:
    """What has come so far."""

    status_code: int | None = None
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class Caller:
    """Calls endpoints over connections that are shared and bounded.

        async with Caller(settings.webhook_allowed_networks) as caller:
            answer = await caller.call(url, sign(secrets, message_id, now, payload), payload)

    Args:
        allowed: networks that may be called although they are not public, with http too.
        limits: of every call.
        tls: who is trusted; by default the certificates of the system.
        resolve: how names become addresses; by default as the system does.
    """

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        limits: Limits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._limits = limits or Limits()
        tls = tls or httpcore2.default_ssl_context()
        self._pools = {
            scheme: httpcore2.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=self._limits.calls,
                keepalive_expiry=_KEPT_SECONDS,
                network_backend=GuardedNetwork(allowed, public=public, resolve=resolve),
            )
            for scheme, public in (("https", True), ("http", False))
        }
        # Gone once no call of the host holds one.
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    async def call(self, url: str, headers: Mapping[str, str], payload: bytes) -> Answer:
        """POST `payload` to `url`. Never raises for what the other side does.

        A call waits for its turn at the host; it ends within `connect_seconds` + `total_seconds`.
        """
        reply, started = _Reply(), time.monotonic()
        try:
            address = target(url)
            async with self._turn(address.host):
                started = time.monotonic()
                async with asyncio.timeout(self._limits.total_seconds):
                    await self._post(address, headers, payload, reply)
            error = None
        except _TROUBLES as trouble:
            error = self._sentence(trouble)
        duration = time.monotonic() - started
        if reply.status_code is None:
            return Answer(duration, error=error)
        # The endpoint has answered: a body that never ends, or breaks off, changes nothing.
        redirected = 300 <= reply.status_code < 400
        return Answer(
            duration,
            reply.status_code,
            f"redirects are not followed ({reply.status_code})" if redirected else None,
            _retry_after(reply.headers.get(b"retry-after"), datetime.now(UTC)),
            _printable(reply.body),
        )

    @asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[None]:
        """One host that hangs must not hold the calls of all others."""
        turns = self._turns.setdefault(host, asyncio.Semaphore(self._limits.per_host))
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await turns.acquire()
        except TimeoutError:
            raise Refused("too many calls to this host are under way") from None
        try:
            yield
        finally:
            turns.release()

    async def _post(
        self, url: httpx2.URL, headers: Mapping[str, str], payload: bytes, reply: _Reply
    ) -> None:
        connect = self._limits.connect_seconds
        async with self._pools[url.scheme].stream(
            "POST",
            httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=[
                *headers.items(),
                ("host", url.netloc.decode()),
                ("accept-encoding", "identity"),
            ],
            content=payload,
            extensions={"timeout": {"connect": connect, "pool": connect}},
        ) as response:
            reply.status_code = response.status
            reply.headers = {name.lower(): value for name, value in response.headers}
            async for chunk in response.aiter_stream():
                reply.body += chunk[: self._limits.answer_bytes - len(reply.body)]
                if len(reply.body) == self._limits.answer_bytes:
                    break

    def _sentence(self, trouble: Exception) -> str:
        """What went wrong, in stable words that tell nothing of this side of the network."""
        match trouble:
            case Refused():
                return str(trouble)
            case httpcore2.ConnectTimeout():
                return f"no connection within {self._limits.connect_seconds:g} s"
            case httpcore2.PoolTimeout():
                return "too many calls are under way"
            case TimeoutError():
                return f"no answer within {self._limits.total_seconds:g} s"
            case httpcore2.ConnectError(args=(ssl.SSLCertVerificationError(),)):
                return "the certificate is not valid"
            case httpcore2.ConnectError(args=(ssl.SSLError(),)):
                return "no TLS connection could be made"
            case httpcore2.ConnectError():
                return "the host cannot be reached"
            case httpcore2.RemoteProtocolError(args=(Exception(),)):
                return "the answer is not HTTP"
        return "the connection ended before an answer"


def _retry_after(value: bytes | None, now: datetime) -> float | None:
    """Seconds, from a number of seconds or a date (RFC 9110 10.2.3); None for anything else."""
    text = (value or b"").decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_RETRY_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds.total_seconds()), _LONGEST_RETRY_SECONDS)


def _printable(body: bytes) -> str:
    """Text that no terminal, log or database takes amiss; a character cut in two is left out."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(body)
    return "".join(
        char if char.isprintable() else " " for char in text if char.isprintable() or char.isspace()
    ).strip()
