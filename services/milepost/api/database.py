"""The API's way to Postgres: as a role that owns nothing, and for the tenants of the caller."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from copy import copy
from typing import Any, Final, cast

import asyncpg

from milepost.api.access import EVERY_TENANT, EVERYTHING, Scope
from milepost.api.problems import DATABASE_UNAVAILABLE, Problem
from milepost.projections.queries import Connection

_CONNECTIONS: Final = 16
_ACQUIRE_SECONDS: Final = 3
_QUERY_SECONDS: Final = 10
_CLOSE_SECONDS: Final = 1
SESSION: Final = {
    # From the start of the session, so that not even RESET ROLE goes beyond it.
    "role": "milepost_api",
    "application_name": "milepost-api",
    "statement_timeout": f"{_QUERY_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{_QUERY_SECONDS}s",
    # To count the resources of a large tenant in one pass: 3 times as fast for a million reports.
    "work_mem": "64MB",
    # Short queries: compiling them costs more than it gains.
    "jit": "off",
}
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # How asyncpg answers where the server ended an idle connection.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    # Given up for another one's sake, or sent to a server that is only a standby now.
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.InvalidTransactionStateError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.InvalidCatalogNameError,
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
)
# Without the migrations there is no role, or not every table and column.
_NOT_MIGRATED: Final = (
    asyncpg.exceptions.InvalidParameterValueError,
    asyncpg.exceptions.SyntaxOrAccessError,
)


class _Session(asyncpg.Connection):
    """A connection that knows whose rows it shows."""

    _shown: str | None = None

    async def show(self, visible: str) -> None:
        """Show the rows of these tenants, see `Scope.visible`.

        For the session, not for a transaction: that would take two round trips more a request.
        """
        if self._shown != visible:
            self._shown = None  # not known, should this fail half-way
            await self.execute("SELECT set_config('milepost.tenant', $1, false)", visible)
            self._shown = visible


class Database:
    """A pool of connections; opens them when they are needed, so that Postgres may come later.

    What it shows is within `scope`.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._scope = EVERYTHING
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    def within(self, scope: Scope) -> "Database":
        """The same pool, for what `scope` may touch."""
        database = copy(self)
        database._scope = scope
        return database

    async def open(self) -> None:
        """Make the pool; connects nowhere yet."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=_ACQUIRE_SECONDS,
            command_timeout=_QUERY_SECONDS,
            server_settings=SESSION,
            connection_class=_Session,
            reset=_keep,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            with suppress(TimeoutError):
                # When time is up, asyncpg terminates what is still in use.
                await asyncio.wait_for(self._pool.close(), _CLOSE_SECONDS)

    @asynccontextmanager
    async def acting_for(self, tenant: str) -> AsyncIterator[Connection]:
        """A connection that sees the rows of `tenant` (EVERY_TENANT: of all in the scope); the only way
        to one.

        Not a transaction: a query that needs one opens it. Raises Problem: 503 when the database is
        away, too slow, or not migrated; 404 and 403 as `Scope.require`.
        """
        assert self._pool is not None, "the database is not open"
        if tenant != EVERY_TENANT:
            self._scope.require(tenant)
        visible = self._scope.visible(tenant)
        # Timing the pool takes as long as the pool, for nothing where a connection is idle.
        seconds = None if self._pool.get_idle_size() else _ACQUIRE_SECONDS
        with _away_is_a_problem():
            async with self._pool.acquire(timeout=seconds) as connection:
                # Nobody gets a connection without passing here.
                await cast(_Session, connection).show(visible)  # its proxy passes that on
                yield connection

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection outside the pool, for LISTEN. Raises what asyncpg raises."""
        return await asyncpg.connect(
            self._dsn, timeout=_ACQUIRE_SECONDS, command_timeout=_QUERY_SECONDS,
            server_settings=SESSION,
        )  # fmt: skip


@contextmanager
def _away_is_a_problem() -> Iterator[None]:
    """Turn what asyncpg raises when the database cannot serve into a Problem."""
    try:
        yield
    except _NOT_MIGRATED as error:
        detail = f"The database has not the schema of this version ({error}). Run: milepost migrate"
        raise Problem(DATABASE_UNAVAILABLE, detail) from error
    except _AWAY as error:
        if isinstance(error, ValueError):  # asyncpg: an argument that the statement cannot take
            raise
        detail = f"The database did not answer: {type(error).__name__}."
        raise Problem(DATABASE_UNAVAILABLE, detail) from error


async def _keep(connection: Any) -> None:
    """Nothing to reset: all that a request sets is the tenant, and the next one sets its own."""
