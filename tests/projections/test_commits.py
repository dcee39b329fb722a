"""A transaction whose commit was not answered: another connection says what became of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from milepost.projections import commits
from milepost.projections.commits import OutcomeUnknown, committed

Look = Callable[[int], Awaitable[None]]
_LOST = asyncpg.ConnectionDoesNotExistError("lost")


class Deaf(asyncpg.Connection):
    """A connection that is lost when it is to commit; `does` says whether Postgres hears of it."""

    does = False

    async def execute(self, query: str, *arguments: object) -> str:  # type: ignore[override]
        if query != "COMMIT;":
            return await super().execute(query, *arguments)
        if self.does:
            await self.do()
        raise _LOST

    async def do(self) -> None:
        await super().execute("COMMIT;")


class Place:
    """A database with a connection to change it, and another to look."""

    def __init__(self, first: Deaf, other: asyncpg.Connection) -> None:
        self.first, self.other = first, other
        self.looks = 0
        self.id = uuid4()

    async def insert(self, on_look: Look) -> None:
        """Insert a row; `on_look` is called before each look at what became of it, from 1 on."""

        @asynccontextmanager
        async def acquire() -> AsyncIterator[asyncpg.Connection]:
            if not self.looks:
                self.looks = 1
                yield self.first
                return
            await on_look(self.looks)
            self.looks += 1
            yield self.other

        async with committed(acquire) as connection:
            await connection.execute("INSERT INTO kept VALUES ($1)", self.id)

    async def has_it(self) -> bool:
        query = "SELECT EXISTS (SELECT FROM kept WHERE id = $1)"
        found: bool = await self.other.fetchval(query, self.id)
        return found


@pytest.fixture
async def place(empty_database: str) -> AsyncIterator[Place]:
    first = await asyncpg.connect(empty_database, connection_class=Deaf)
    other = await asyncpg.connect(empty_database)
    await other.execute("CREATE TABLE IF NOT EXISTS kept (id uuid PRIMARY KEY)")
    yield Place(first, other)
    first.terminate()
    await other.close()


async def _nothing(_: int) -> None:
    pass


async def test_one_that_was_done_is_done(place: Place) -> None:
    place.first.does = True
    await place.insert(_nothing)
    assert await place.has_it()


async def test_of_one_that_was_not_done_the_caller_hears(place: Place) -> None:
    async def end(_: int) -> None:
        await asyncpg.Connection.execute(place.first, "ROLLBACK")

    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await place.insert(end)
    assert not await place.has_it()


async def test_one_that_is_under_way_is_waited_for(place: Place) -> None:
    async def do(look: int) -> None:
        if look == 2:
            await place.first.do()

    await place.insert(do)
    assert (place.looks, await place.has_it()) == (3, True)


async def test_one_of_which_nobody_can_say_is_not_known(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: int) -> None:
        raise _LOST

    with pytest.raises(OutcomeUnknown):
        await place.insert(away)
    await asyncpg.Connection.execute(place.first, "ROLLBACK")
    monkeypatch.setattr(commits, "_LOOK_SECONDS", 0.1)
    place.looks = 0
    with pytest.raises(OutcomeUnknown):  # under way for longer than anybody waits
        await place.insert(_nothing)
    assert place.looks > 2


async def test_an_error_of_the_block_needs_no_look(place: Place) -> None:
    await place.other.execute("INSERT INTO kept VALUES ($1)", place.id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await place.insert(_nothing)
    assert place.looks == 1
