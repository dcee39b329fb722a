"""The network as webhooks may use it: a name is resolved once, every address of the answer is vetted.

What was vetted is what is connected to. TLS still goes by the name: SNI and certificate are its.
"""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final

import httpcore2
import httpx2

from milepost.webhooks.addresses import Address, Network, denial, is_in

# Text forms of the addresses of a host; raises OSError or UnicodeError where it has none.
Resolve = Callable[[str], Awaitable[Sequence[str]]]

# However many addresses a name has: each takes its share of the time.
_TRIED: Final = 4
# The loop has few threads of its own: names whose servers hang would hold up those of other tenants.
_LOOK_UPS: Final = ThreadPoolExecutor(256, "look-up")
_ONLY_HTTPS: Final = "only https is called"
_UNRESOLVED: Final = "the host name cannot be resolved"
# A name, or an address without the zone that would make it one of this machine's own.
_HOST: Final = re.compile(rb"[0-9a-z._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


class Refused(httpcore2.ConnectError):
    """The guard does not let this call out; the text says why, in words for the endpoint's owner."""


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connections to public addresses, and to those in the `allowed` networks.

    Args:
        allowed: networks that may be called although they are not public.
        public: false to let nothing but the `allowed` networks be called.
        resolve: how names become addresses.
    """

    def __init__(
        self, allowed: Sequence[Network], *, public: bool = True, resolve: Resolve | None = None
    ) -> None:
        self._allowed = allowed
        self._public = public
        self._resolve = resolve or addresses_of
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the shape of the backend
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to `host`: refused as a whole where one of its addresses may not be called.

        Raises Refused, ConnectError when no address answers, ConnectTimeout after `timeout` seconds.
        """
        assert timeout is not None
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host)
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None
        except (OSError, UnicodeError):
            raise Refused(_UNRESOLVED) from None
        vetted = self._vetted(addresses)[:_TRIED]
        for place, address in enumerate(vetted, start=1):
            share = max(0.0, deadline - time.monotonic()) / (len(vetted) - place + 1)
            try:
                return await self._network.connect_tcp(
                    str(address), port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if place == len(vetted):
                    raise
        raise Refused(_UNRESOLVED)

    def _vetted(self, answer: Sequence[str]) -> list[Address]:
        addresses = [ip_address(text) for text in dict.fromkeys(answer)]
        for address in addresses:
            if not self._public and not is_in(address, self._allowed):
                raise Refused(_ONLY_HTTPS)
            reason = denial(address, self._allowed)
            if reason is not None:
                raise Refused(f"the address is not public ({reason})")
        return addresses


def target(url: str) -> httpx2.URL:
    """The URL of an endpoint, taken apart. Raises Refused, and says why, for what is not called."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise Refused("the URL is not valid") from None
    if parsed.scheme not in ("http", "https"):
        raise Refused(_ONLY_HTTPS)
    if parsed.userinfo:
        raise Refused("the URL has user information")
    port = 443 if parsed.port is None else parsed.port
    if not _HOST.fullmatch(parsed.raw_host) or not 0 < port < 65_536:
        raise Refused("the URL is not valid")
    return parsed


async def addresses_of(host: str) -> Sequence[str]:
    """The addresses of `host` in the resolver's order: from DNS, or those that a numeric form means."""
    look_up = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return [str(address[0]) for *_, address in found]
