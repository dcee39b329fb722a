"""What the API reads, and its ledger of requests: one function a statement of `sql/`.

Every function works on the connection it is given, which decides what is visible (row-level security
by `milepost.tenant`). All raise asyncpg.PostgresError, OSError or TimeoutError where the database does.
"""

from typing import Final

from milepost.projections.queries.archived import (
    ArchivedMonth,
    ArchivedPart,
    archived_beyond,
    archived_part,
    archived_place,
)
from milepost.projections.queries.held import (
    NO_HEARTBEATS,
    Heartbeats,
    HeldExecution,
    LeftOut,
    Silence,
    Standing,
    execution,
    executions_named,
    versions,
)
from milepost.projections.queries.history import (
    LoggedEvent,
    LoggedLine,
    execution_events,
    execution_logs,
    last_logs,
)
from milepost.projections.queries.links import (
    LinkedExecution,
    LinkKey,
    linked_states,
    linking_executions,
)
from milepost.projections.queries.listing import (
    PAGES,
    Listed,
    ListedExecution,
    ListingKey,
    Wanted,
    executions,
)
from milepost.projections.queries.positions import PartitionLag, lag, stale
from milepost.projections.queries.records import Connection, StoredRecord
from milepost.projections.queries.requests import (
    Request,
    mark_published,
    note_request,
    request,
    requests_unpublished,
)
from milepost.projections.queries.resources import (
    ReportedResource,
    ResourceHistoryKey,
    TenantResourceKey,
    orphans,
    resource_history,
    tenant_resources,
)
from milepost.projections.queries.tenants import Summary, resources_in_use, tenant_summary
from milepost.projections.statements import statement

__all__ = [
    "NO_HEARTBEATS",
    "READ",
    "ArchivedMonth",
    "ArchivedPart",
    "Connection",
    "Heartbeats",
    "HeldExecution",
    "LeftOut",
    "LinkKey",
    "LinkedExecution",
    "Listed",
    "ListedExecution",
    "ListingKey",
    "LoggedEvent",
    "LoggedLine",
    "PartitionLag",
    "ReportedResource",
    "Request",
    "ResourceHistoryKey",
    "Silence",
    "Standing",
    "StoredRecord",
    "Summary",
    "TenantResourceKey",
    "Wanted",
    "archived_beyond",
    "archived_part",
    "archived_place",
    "execution",
    "execution_events",
    "execution_logs",
    "executions",
    "executions_named",
    "lag",
    "last_logs",
    "linked_states",
    "linking_executions",
    "mark_published",
    "note_request",
    "orphans",
    "request",
    "requests_unpublished",
    "resource_history",
    "resources_in_use",
    "stale",
    "tenant_resources",
    "tenant_summary",
    "verify",
    "versions",
]

_NAMES: Final = (
    "execution",
    "executions_named",
    "lag",
    "versions",
    "by_key_only",
    "positions_now",
    "stops",
    "changes_between",
    "in_flight_now",
    "counts",
    "execution_events",
    "execution_logs",
    "execution_logs_last",
    "raw_record",
    "retention/archived_part",
    "retention/archived_place",
    "retention/archived_up_to",
    "folded_positions",
    "linked_states",
    "linking_executions",
    "tenant_summary",
    "tenant_resources",
    "resources_in_use",
    "resource_history",
    "orphans",
    "request",
    "request_insert",
    "request_published",
    "requests_unpublished",
    "access/key",
    "access/keys",
    "access/make_key",
    "access/revoke_key",
    "access/use_key",
    "access/note",
    "access/audit",
    "access/tenant_audit",
)
# Every statement that the API runs, by name.
READ: Final = {name: statement(name) for name in _NAMES} | PAGES


async def verify(connection: Connection) -> None:
    """Raise asyncpg.PostgresError unless every statement fits the schema, e.g. before a migration."""
    for text in READ.values():
        await connection.prepare(text)
