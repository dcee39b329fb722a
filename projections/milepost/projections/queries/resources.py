"""What executions report of resources."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement


class ReportedResource(NamedTuple):
    """One resource as one execution reports it; `provider` is the execution's unless it named one.

    `own_provider` and `region` are empty where the report has none: they are part of the key.
    `action`, in a history: made, changed or released.
    """

    own_provider: str
    region: str
    kind: str
    id: str
    execution_id: UUID
    tenant: str
    operation: str | None
    state: str
    provider: str | None
    status: str | None
    released: bool
    attributes: dict[str, Any] | None
    occurred_at: datetime
    recorded_at: datetime
    action: str | None = None


# (provider, region, kind, id, execution id)
TenantResourceKey = tuple[str, str, str, str, UUID]
# (time of the report, tenant, provider, region, execution id)
ResourceHistoryKey = tuple[datetime, str, str, str, UUID]


async def tenant_resources(
    connection: Connection,
    tenant: str,
    *,
    after: TenantResourceKey,
    limit: int,
    kind: str | None,
    released: bool | None,
) -> list[ReportedResource]:
    """What a tenant's executions report of resources, beyond the key of the last one seen."""
    rows = await connection.fetch(
        statement("tenant_resources"), tenant, *after, limit, kind, released
    )
    return [_resource(row) for row in rows]


async def resource_history(
    connection: Connection,
    kind: str,
    resource_id: str,
    *,
    after: ResourceHistoryKey,
    limit: int,
    provider: str | None = None,
    region: str | None = None,
) -> list[ReportedResource]:
    """What executions did with this resource in the order of time, beyond the key of the last one seen."""
    rows = await connection.fetch(
        statement("resource_history"), kind, resource_id, provider, region, *after, limit
    )
    return [_resource(row) for row in rows]


async def orphans(
    connection: Connection, tenant: str, *, after: TenantResourceKey, limit: int
) -> list[ReportedResource]:
    """What failed and cancelled executions left behind, beyond the key of the last one seen."""
    rows = await connection.fetch(statement("orphans"), tenant, *after, limit)
    return [_resource(row) for row in rows]


def _resource(row: asyncpg.Record) -> ReportedResource:
    resource = ReportedResource(*row)
    if row["attributes"] is None:
        return resource
    return resource._replace(attributes=orjson.loads(row["attributes"]))
