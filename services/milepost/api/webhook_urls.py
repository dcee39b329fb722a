"""Which URLs an endpoint may have. Whether its addresses may be called, is looked at with each call."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

import httpx2

from milepost.api.problems import INVALID_WEBHOOK_URL, Problem

# A name or an address; IPv6 without its brackets.
_HOST: Final = re.compile(rb"[0-9a-z._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


def require_url(url: str, allowed: Sequence[IPv4Network | IPv6Network]) -> None:
    """Raise Problem (422) unless messages could be sent to `url`.

    Addresses in the `allowed` networks may be called with http, too. Where there are such networks, a
    name may be one of theirs.
    """
    if (reason := _refusal(url, allowed)) is not None:
        errors = [{"detail": reason, "pointer": "#/url"}]
        raise Problem(INVALID_WEBHOOK_URL, f"The URL {reason}.", errors=errors)


def _refusal(url: str, allowed: Sequence[IPv4Network | IPv6Network]) -> str | None:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return "is not valid: it must be like https://example.com/path"
    port = 443 if parsed.port is None else parsed.port
    if parsed.scheme not in ("https", "http") or not parsed.host:
        return "must begin with https:// and a host"
    if parsed.userinfo:
        return "must have no user or password: messages are signed instead"
    if parsed.fragment:
        return "must have no fragment (#...): it would never be sent"
    if not _HOST.fullmatch(parsed.raw_host) or not 0 < port < 65_536:
        return "is not valid: it must be like https://example.com/path"
    if parsed.scheme == "http" and not _may_be_in(parsed.host, allowed):
        return (
            "must begin with https://; http is only for the networks that this Milepost's operator "
            "lists in MILEPOST_WEBHOOK_ALLOWED_NETWORKS"
        )
    return None


def _may_be_in(host: str, allowed: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return bool(allowed)
    return any(address in network for network in allowed)
