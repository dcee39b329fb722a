"""Deterministic identifiers: the same request gives the same execution id, with no round trip.

`execution_id` = UUIDv5(`NAMESPACE`, RFC 8785 canonical JSON of `[tenant, operation, key]`), or without
an idempotency key of `[tenant, operation, {links, parameters, provider}]`. Test vectors for other
languages are published beside the JSON Schemas.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Final

import rfc8785

NAMESPACE: Final = uuid.UUID("5b0d7f0c-6a51-5d0b-9d7e-6d3c1f0a9e42")


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON. Raises ValueError for what it cannot express (e.g. 2**53)."""
    return rfc8785.dumps(value)


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
    if key is not None:
        name = canonical([tenant, operation, key])
    else:
        identity = {
            "provider": provider,
            "parameters": dict(parameters or {}),
            "links": dict(links or {}),
        }
        name = canonical([tenant, operation, identity])
    return str(_uuid5(NAMESPACE, name))


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
    return str(_uuid5(uuid.UUID(execution), f"{tenant}:{kind}:{version}".encode()))


def _uuid5(namespace: uuid.UUID, name: bytes) -> uuid.UUID:
    # uuid.uuid5 takes text only before Python 3.12, and canonical JSON is bytes.
    digest = hashlib.sha1(namespace.bytes + name, usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)
