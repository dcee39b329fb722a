"""API keys and the audit."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement


class ApiKey(NamedTuple):
    """An API key, without its secret. `grants` are `tenant:role`; `providers` None: any."""

    key_id: str
    name: str
    secret_sha256: bytes
    grants: list[str]
    providers: list[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None


class Audited(NamedTuple):
    """Who did what, when, and what came of it (`status`, of HTTP).

    `left_out`: how many refusals before this one were not noted.
    """

    at: datetime
    audit_id: UUID
    tenant: str | None
    principal: str
    action: str
    target: str
    status: int
    address: str
    request_id: str
    left_out: int


# (created at, key id) and (at, audit id)
ApiKeyPlace = tuple[datetime, str]
AuditPlace = tuple[datetime, UUID]


async def api_key(connection: Connection, key_id: str) -> ApiKey | None:
    """One key, revoked and expired ones too."""
    row = await connection.fetchrow(statement("access/key"), key_id)
    return ApiKey(*row) if row else None


async def api_keys(
    connection: Connection, tenants: Sequence[str] | None, *, after: ApiKeyPlace, limit: int
) -> list[ApiKey]:
    """The keys that are for these tenants only (None: all keys), the newest first."""
    rows = await connection.fetch(statement("access/keys"), tenants, *after, limit)
    return [ApiKey(*row) for row in rows]


async def make_api_key(connection: Connection, key: ApiKey) -> None:
    """Keep a new key."""
    await connection.execute(statement("access/make_key"), *key[:8])


async def revoke_api_key(connection: Connection, key_id: str, now: datetime, by: str) -> None:
    """From now on the key is refused; one that is revoked stays as it is."""
    await connection.execute(statement("access/revoke_key"), key_id, now, by)


async def revoke_api_keys_named(connection: Connection, name: str, now: datetime, by: str) -> None:
    """As `revoke_api_key`, for every key of this name."""
    await connection.execute(statement("access/revoke_keys_named"), name, now, by)


async def use_api_key(connection: Connection, key_id: str, now: datetime) -> None:
    """Note that a key was used, at most once a minute."""
    await connection.execute(statement("access/use_key"), key_id, now)


async def note_audited(connection: Connection, rows: Sequence[Audited]) -> None:
    """Keep rows of the audit."""
    await connection.executemany(statement("access/note"), rows)


async def audited(
    connection: Connection, tenant: str | None, *, after: AuditPlace, limit: int
) -> list[Audited]:
    """The audit of a tenant (None: of all, and what is no tenant's), the newest first."""
    if tenant is None:
        rows = await connection.fetch(statement("access/audit"), *after, limit)
    else:
        rows = await connection.fetch(statement("access/tenant_audit"), *after, limit, tenant)
    return [Audited(*row) for row in rows]
