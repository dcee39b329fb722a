"""The database server: does it answer, is it one that Milepost can use, and does it keep what it is told?"""

import socket
from typing import Final

import asyncpg

from milepost.doctor.findings import Finding, error, ok, warning
from milepost.doctor.stack import CONNECT_SECONDS, Stack
from milepost.projections import migrate
from milepost.projections.generation import TABLES

# The first with transaction_timeout, which every session of a processor sets.
_LEAST_VERSION: Final = 17
# Of the connections that Postgres allows; a restart of all services at once needs the rest.
_CROWDED: Final = 0.8
# What a processor does with the tables that it writes, as the role of a processor may.
_KEPT: Final = ("event_log", "execution_links")  # written once
_WRITTEN: Final = (*TABLES, "event_log", "positions")
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
_PSQL: Final = 'psql "$MILEPOST_DATABASE_URL"'
_START: Final = (
    "Start it; `milepost up` starts one on this machine. MILEPOST_DATABASE_URL says where to look."
)


async def reachable(stack: Stack) -> list[Finding]:
    """Postgres answers and lets us in."""
    try:
        version = await stack.pool.fetchval("SELECT current_setting('server_version')")
    except asyncpg.InvalidAuthorizationSpecificationError as refusal:
        remedy = "Correct the user and the password in MILEPOST_DATABASE_URL."
        return [error(f"it does not let us in: {refusal}", stack.postgres, remedy)]
    except asyncpg.InvalidCatalogNameError as refusal:
        remedy = "Make it with `createdb`, or correct MILEPOST_DATABASE_URL."
        return [error(str(refusal), stack.postgres, remedy)]
    except TimeoutError:
        return [error(f"no answer within {CONNECT_SECONDS:g} s", stack.postgres, _START)]
    except socket.gaierror:
        return [error("no such host", stack.postgres, _START)]
    except OSError:
        return [error("nothing listens there", stack.postgres, _START)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as refusal:
        return [error(str(refusal), stack.postgres, _START)]
    return [ok(f"PostgreSQL {version} answered", stack.postgres)]


async def server(stack: Stack) -> list[Finding]:
    """Its version is new enough, it may be written to, and it has connections left."""
    row = await stack.row("server")
    findings = []
    if row["version"] < _LEAST_VERSION:
        found = f"PostgreSQL {row['version']} is too old: sessions set transaction_timeout"
        remedy = f"Upgrade it to {_LEAST_VERSION} or newer."
        findings.append(error(found, stack.postgres, remedy))
    if row["standby"]:
        remedy = "Put the primary into MILEPOST_DATABASE_URL."
        findings.append(error("it is a standby: nothing can be written", stack.postgres, remedy))
    elif row["read_only"]:
        setting = "default_transaction_read_only = off"
        # First for the session itself, which could not change it either.
        remedy = f"{_PSQL} -c 'SET {setting}' -c 'ALTER DATABASE {row['database']} SET {setting}'"
        findings.append(error("its transactions are read-only", stack.postgres, remedy))
    if row["used"] > _CROWDED * row["most"]:
        found = f"{row['used']} of {row['most']} connections are in use"
        remedy = "Raise max_connections, or run fewer services."
        findings.append(warning(found, stack.postgres, remedy))
    return findings or [
        ok(f"{row['used']} of {row['most']} connections are in use", stack.postgres)
    ]


async def durability(stack: Stack) -> list[Finding]:
    """What is committed outlives a crash."""
    rows = await stack.fetch("settings", list(_DURABLE))
    return [
        warning(
            f"{row['name']} is off: a crash of the machine can take committed batches with it",
            stack.postgres,
            f"{_PSQL} -c 'ALTER SYSTEM SET {row['name']} = on' -c 'SELECT pg_reload_conf()'"
            " (or where Postgres is started with it)",
        )
        for row in rows
        if row["setting"] == "off"
    ] or [ok(f"{', '.join(_DURABLE)} are on", stack.postgres)]


async def rights(stack: Stack) -> list[Finding]:
    """The role may do what a processor and an API do."""
    row = await stack.row("rights", list(_WRITTEN), list(_KEPT))
    role, remedy = row["role"], "milepost db migrate (as the owner of the database)"
    findings = []
    if row["missing"]:
        found = f"the role {role} lacks {', '.join(row['missing'])}: a processor needs all of them"
        findings.append(warning(found, stack.postgres, remedy))
    if row["owns_log"] is False:
        found = f"the role {role} does not own event_log: as it, no months can be made"
        findings.append(warning(found, stack.postgres, remedy))
    if not row["acts"]:
        found = f"the role {role} may not act as milepost_api: as it, no API can serve"
        findings.append(warning(found, stack.postgres, remedy))
    return findings or [ok(f"the role {role} may do what the services do", stack.postgres)]


async def migrations(stack: Stack) -> list[Finding]:
    """The schema is the one of this version."""
    async with stack.pool.acquire() as connection:
        found = await migrate.schema(connection)
    findings = []
    if found.pending:
        text = f"not applied: {', '.join(found.pending)}"
        findings.append(error(text, stack.postgres, "milepost db migrate"))
    if found.unknown:
        text = f"applied by a newer version: {', '.join(found.unknown)}"
        remedy = "Install the version of Milepost that the other services have."
        findings.append(warning(text, stack.postgres, remedy))
    return findings or [ok("all of this version's are applied", stack.postgres)]
