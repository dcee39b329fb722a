"""One call of a tenant's endpoint, and what became of it. Whatever the other side does, it ends in time.

No redirects, no proxies, no cookies, no credentials: httpcore2 knows none of them. It is used directly
because it takes the guarded network as an argument, which the transports of httpx2 do not.
"""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from milepost.webhooks.addresses import Network
from milepost.webhooks.guard import Resolve


@dataclass(frozen=True)
class Limits:
    """What one call may take.

    `connect_seconds`: to find and reach the host, and then again for TLS. `total_seconds`: until the
    answer's status; no longer for the beginning of its body. `per_host`, `calls`: calls at once.
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
        duration_seconds: how long the call took.
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

    @property
    def arrived(self) -> bool:
        """The endpoint took the message: it answered 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300


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
    ) -> None: ...

    async def call(self, url: str, headers: Mapping[str, str], payload: bytes) -> Answer:
        """POST `payload` to `url`. Never raises for what the other side does.

        A call first waits for its turn at the host, at most `connect_seconds`; that is part of its
        duration. It ends within `connect_seconds` + `total_seconds`.
        """
        raise NotImplementedError
