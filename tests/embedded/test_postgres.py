"""The embedded Postgres: real servers."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from milepost.embedded import EmbeddedError, EmbeddedPostgres


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    data = tmp_path_factory.mktemp("postgres") / "below" / "a root's folder"
    async with EmbeddedPostgres(data, durable=False) as server:
        yield server


@asynccontextmanager
async def session(server: EmbeddedPostgres) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(server.dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def test_answers_and_keeps_its_data_over_stop_and_kill(postgres: EmbeddedPostgres) -> None:
    dsn = postgres.dsn
    async with session(postgres) as connection:
        assert connection.get_server_version().major == 18
        assert await connection.fetchval("SHOW max_connections") == "200"
        assert await connection.fetchval("SHOW fsync") == "off"
        await connection.execute("CREATE TABLE fact (n int); INSERT INTO fact VALUES (1)")
    await postgres.restart()
    async with session(postgres) as connection:
        await connection.execute("INSERT INTO fact VALUES (2)")

    died = asyncio.create_task(postgres.wait_died())
    await postgres.kill()
    assert await died == 128 + 9
    await postgres.start()
    assert postgres.dsn == dsn
    async with session(postgres) as connection:
        rows = await connection.fetch("SELECT n FROM fact ORDER BY n")
        assert [row["n"] for row in rows] == [1, 2]


async def test_starts_again_while_a_backend_outlives_the_postmaster(
    postgres: EmbeddedPostgres,
) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    backend = connection.get_server_pid()
    os.kill(backend, signal.SIGSTOP)  # cannot notice that its postmaster is gone
    os.kill(postgres.pid, signal.SIGKILL)
    assert await postgres.wait_died() == 128 + 9
    await postgres.start()
    connection.terminate()
    async with session(postgres) as fresh:
        assert await fresh.fetchval("SELECT 1") == 1


async def test_only_its_password_opens_it(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.dsn, password="guess")
    password = postgres.data / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert urlsplit(postgres.dsn).password == password.read_text()


async def test_durable_is_the_default(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server, session(server) as connection:
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"port {port}.*\(process {os.getpid()}\)"):
            await EmbeddedPostgres(tmp_path, port).start()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=f"cannot write in the folder {tmp_path}/file/pg"):
        await EmbeddedPostgres(tmp_path / "file" / "pg").start()


async def test_a_server_that_does_not_come_up_shows_its_log(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=False, overrides={"max_connections": "none"})
    with pytest.raises(EmbeddedError) as raised:
        await server.start()
    assert str(server.log_file) in str(raised.value)
    assert 'invalid value for parameter "max_connections"' in str(raised.value)
    assert not server.running
