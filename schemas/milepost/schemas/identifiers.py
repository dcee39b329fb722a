"""Deterministic identifiers: the same request gives the same execution id, with no round trip.

`execution_id` = UUIDv5(`NAMESPACE`, RFC 8785 canonical JSON of `[tenant, operation, key]`), or without
an idempotency key of `[tenant, operation, {links, parameters, provider}]`. Test vectors for other
languages are published beside the JSON Schemas.
"""

import hashlib
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
import rfc8785

NAMESPACE: Final = uuid.UUID("5b0d7f0c-6a51-5d0b-9d7e-6d3c1f0a9e42")


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON. Raises ValueError for what it cannot express (e.g. 2**53)."""
    # Every `requested` passes here several times.
    if _is_plain(value):
        with suppress(orjson.JSONEncodeError):  # deep, or not Unicode: as RFC 8785 judges it
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether sorted compact JSON already is canonical: all is, but for two of RFC 8785's rules.

    It writes numbers as ECMAScript does (no floats here, no integers beyond theirs), and orders names
    by UTF-16 (ASCII names are in the same order either way).
    """
    kind = type(value)
    if kind is str:
        return True
    if kind is dict:
        for name, item in value.items():
            if type(name) is not str or not name.isascii() or not _is_plain(item):
                return False
        return True
    if kind is list:
        return all(map(_is_plain, value))
    if kind is int:
        return bool(-(2**53) < value < 2**53)
    return value is None or kind is bool


def execution_id(
    tenant: str,
    operation: str,
    *,
    key: str | None = None,
    provider: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The id of the execution that this request asks for: 36 characters, lower case.

    With `key` only (tenant, operation, key) count; without it the provider, the parameters and the
    links that are set do. Raises ValueError for parameters that RFC 8785 cannot express.
    """
    identity = key if key is not None else unkeyed(provider, parameters, links)
    return _uuid5(NAMESPACE.bytes, canonical([tenant, operation, identity]))


def unkeyed(
    provider: str | None,
    parameters: Mapping[str, Any] | None,
    links: Mapping[str, str] | None,
) -> dict[str, Any]:
    """What stands in the place of the idempotency key where there is none."""
    return {"provider": provider, "parameters": dict(parameters or {}), "links": dict(links or {})}


def parameters_digest(parameters: Mapping[str, Any] | None) -> str:
    """SHA-256 (hex) of the canonical parameters, for publishers that keep the parameters to themselves."""
    return hashlib.sha256(canonical(dict(parameters or {}))).hexdigest()


def fingerprint(provider: str | None, digest: str, links: Mapping[str, str] | None) -> str:
    """What must not change when an idempotency key is used again (hex SHA-256).

    Labels and expectations are left out: they may be improved by a later request.
    """
    return hashlib.sha256(canonical([provider, digest, dict(links or {})])).hexdigest()


def outgoing_id(tenant: str, execution: str, kind: str, version: int) -> str:
    """The `ce_id` of what Milepost sends out, so that a repeat can be told from news."""
    return _uuid5(bytes.fromhex(execution.replace("-", "")), f"{tenant}:{kind}:{version}".encode())


def _uuid5(namespace: bytes, name: bytes) -> str:
    # uuid.uuid5 takes text only before Python 3.12, and canonical JSON is bytes.
    sha1 = hashlib.sha1(namespace + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(sha1[16], 16) & 3]
    return f"{sha1[:8]}-{sha1[8:12]}-5{sha1[13:16]}-{variant}{sha1[17:20]}-{sha1[20:32]}"
