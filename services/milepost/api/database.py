"""The API's way to Postgres: as a role that owns nothing, and for the tenants of the caller."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from copy import copy
from functools import partial
from typing import Any, Final, TypeVar, cast

import asyncpg
import stamina
from asyncpg.pool import PoolConnectionProxy

from milepost.api.access import EVERY_TENANT, EVERYTHING, Scope
from milepost.api.problems import DATABASE_UNAVAILABLE, Problem
from milepost.projections.commits import OutcomeUnknown, committed
from milepost.projections.queries import Connection

T = TypeVar("T")

_CONNECTIONS: Final = 16
_ACQUIRE_SECONDS: Final = 3
_QUERY_SECONDS: Final = 10
# Postgres gives a query up by itself: a connection that says nothing for so long is dead.
_DEAD_SECONDS: Final = 11
# One that has been idle is asked for a sign of life first: firewalls forget connections without a word.
_IDLE_SECONDS: Final = 1
_SIGN_SECONDS: Final = 2
_ATTEMPTS: Final = 5
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
    """A connection that knows whose rows it shows, and when it was last heard of."""

    _shown: str | None = None
    _heard = 0.0

    async def show(self, visible: str) -> None:
        """Show the rows of these tenants, see `Scope.visible`. Raises TimeoutError for a dead connection.

        For the session, not for a transaction: that would take two round trips more a request.
        """
        now = time.monotonic()
        if self._shown != visible or now - self._heard > _IDLE_SECONDS:
            self._shown = None  # not known, should this fail half-way
            await self.execute(
                "SELECT set_config('milepost.tenant', $1, false)", visible, timeout=_SIGN_SECONDS
            )
            self._shown = visible
        self._heard = now

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncpg's shape
        """Take leave of Postgres, but not for long: it may not hear."""
        with suppress(TimeoutError):
            await super().close(timeout=timeout or _CLOSE_SECONDS)


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
            command_timeout=_DEAD_SECONDS,
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

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections of the pool are in use, and how many there can be."""
        assert self._pool is not None, "the database is not open"
        return self._pool.get_size() - self._pool.get_idle_size(), self._pool.get_max_size()

    @asynccontextmanager
    async def acting_for(self, tenant: str) -> AsyncIterator[Connection]:
        """A connection that sees the rows of `tenant` (EVERY_TENANT: of all in the scope); the only way
        to one.

        To read: what changes something goes through `writing_for` or `repeated_for`. Raises Problem: 503
        when the database is away, too slow, or not migrated; 404 and 403 as `Scope.require`.
        """
        assert self._pool is not None, "the database is not open"
        if tenant != EVERY_TENANT:
            self._scope.require(tenant)
        with _away_is_a_problem():
            # Nobody gets a connection without passing here.
            connection = await self._showing(self._scope.visible(tenant))
            try:
                yield connection
            except TimeoutError:
                await self._bury(connection)
                raise
            finally:
                await self._pool.release(connection)

    @asynccontextmanager
    async def writing_for(self, tenant: str) -> AsyncIterator[Connection]:
        """As `acting_for`, in a transaction that is committed when the block ends.

        A connection that is lost meanwhile leaves no doubt: another one is asked what became of the
        transaction. The Problem, then, says whether repeating is safe.
        """
        try:
            async with committed(partial(self.acting_for, tenant)) as connection:
                yield connection
        except OutcomeUnknown as error:
            detail = (
                "The database did not say whether it has made the change. "
                "Look before repeating the request."
            )
            raise Problem(DATABASE_UNAVAILABLE, detail) from error

    async def repeated_for(self, tenant: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` gives with such a connection; again where that was lost, whatever it had done.

        For what changes nothing when it has been done already: cheaper than a transaction.
        """
        async for attempt in stamina.retry_context(
            on=_was_lost, attempts=_ATTEMPTS, timeout=_ACQUIRE_SECONDS,
            wait_initial=0.01, wait_jitter=0.01,
        ):  # fmt: skip
            with attempt:
                async with self.acting_for(tenant) as connection:
                    return await work(connection)
        raise AssertionError("unreachable: the retries end by returning or raising")

    async def _showing(self, visible: str) -> PoolConnectionProxy:
        """A connection of the pool that is alive and shows this."""
        assert self._pool is not None
        for attempt in range(2):
            # Timing the pool takes as long as the pool, for nothing where a connection is idle.
            seconds = None if self._pool.get_idle_size() else _ACQUIRE_SECONDS
            connection = await self._pool.acquire(timeout=seconds)
            try:
                await cast(_Session, connection).show(visible)  # its proxy passes that on
            except BaseException as error:
                if isinstance(error, TimeoutError):
                    await self._bury(connection)
                await self._pool.release(connection)
                if attempt or not isinstance(error, TimeoutError):
                    raise
            else:
                return connection
        raise AssertionError("unreachable: the second attempt returns or raises")

    async def _bury(self, connection: PoolConnectionProxy) -> None:
        """Let nobody wait on a dead connection, nor on those that died with it."""
        assert self._pool is not None
        connection.terminate()
        await self._pool.expire_connections()

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection outside the pool, for LISTEN. Raises what asyncpg raises."""
        return await asyncpg.connect(
            self._dsn, timeout=_ACQUIRE_SECONDS, command_timeout=_DEAD_SECONDS,
            server_settings=SESSION,
        )  # fmt: skip


@contextmanager
def _away_is_a_problem() -> Iterator[None]:
    """Turn what asyncpg raises when the database cannot serve into a Problem."""
    try:
        yield
    except _NOT_MIGRATED as error:
        detail = (
            f"The database has not the schema of this version ({error}). Run: milepost db migrate"
        )
        raise Problem(DATABASE_UNAVAILABLE, detail) from error
    except _AWAY as error:
        if isinstance(error, ValueError):  # asyncpg: an argument that the statement cannot take
            raise
        detail = f"The database did not answer: {type(error).__name__}."
        raise Problem(DATABASE_UNAVAILABLE, detail) from error


def _was_lost(error: Exception) -> bool:
    """Whether another connection may do: not where one has just been waited for."""
    return isinstance(error, Problem) and isinstance(
        error.__cause__,
        ConnectionError
        | asyncpg.InterfaceError
        | asyncpg.InternalClientError
        | asyncpg.PostgresConnectionError
        | asyncpg.exceptions.OperatorInterventionError,
    )


async def _keep(connection: Any) -> None:
    """Nothing to reset: all that a request sets is the tenant, and the next one sets its own."""
