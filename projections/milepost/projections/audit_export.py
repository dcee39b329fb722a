"""Writes everything that is known of a tenant's executions to a file: raw records, then transitions.

Records come from the months that were archived, then from the log; in each of these in the order of
topic, partition and offset.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from milepost.projections import archive
from milepost.projections.archive import Document, Writer, Written
from milepost.projections.explain import why
from milepost.projections.generation import GenerationError
from milepost.projections.holds import note
from milepost.projections.queries import StoredRecord
from milepost.projections.rebuild import Progress, Report
from milepost.projections.statements import statement
from milepost.projections.view import render
from milepost.schemas.binding import Event, decode, moment

_BLOCK: Final = 100
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)


class CannotExport(GenerationError):
    """There is nothing to export, or the file of an archived month is missing or damaged; says which."""


class Scope(NamedTuple):
    """Which records: a tenant's, of one execution or of all, recorded from `since` up to, without, `until`."""

    tenant: str
    execution_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def arguments(self) -> tuple[str, datetime, datetime, str | None]:
        """As the statements take them."""
        return self.tenant, self.since or _EARLIEST, self.until or _LATEST, self.execution_id

    def has(self, document: Document) -> bool:
        """Whether an archived record is one of them."""
        tenant, since, until, execution_id = self.arguments()
        return (
            document["tenant"] == tenant
            and execution_id in (None, document["execution_id"])
            and since <= datetime.fromisoformat(document["recorded_at"]) < until
        )


async def export(
    dsn: str,
    path: Path,
    scope: Scope,
    folder: Path | None,
    now: datetime,
    by: str,
    report: Report = lambda _: None,
) -> Written:
    """Write the file; `folder` has the files of archived months. The audit notes who did.

    Raises CannotExport, OSError or what asyncpg raises; then there is no file.
    """
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "milepost-audit"})
    header = {"of": "audit", **scope._asdict(), "exported_at": now, "exported_by": by}
    try:
        with closing(Writer(path, header)) as writer:
            async with connection.transaction(isolation="repeatable_read"):
                # Before the first look: no month leaves the log until this is over.
                await connection.execute("LOCK TABLE event_log IN ACCESS SHARE MODE")
                await _export(connection, writer, scope, folder, report)
            if not writer.counts:
                raise CannotExport(f"nothing is known of {_named(scope)}")
            target = f"{path.name} {scope.execution_id or 'all executions'}"
            await note(connection, scope.tenant, "audit export", target, now, by)
            return writer.finish()
    finally:
        await connection.close()


async def _export(
    connection: asyncpg.Connection,
    writer: Writer,
    scope: Scope,
    folder: Path | None,
    report: Report,
) -> None:
    counted = 0

    def add(document: Document) -> None:
        nonlocal counted
        writer.add("record", _told(document))
        counted += 1
        report(Progress("exporting", counted, counted))

    months = await connection.fetch(statement("retention/months_needed"), *scope.arguments())
    for month, file, sha256 in months:
        for document in _archived(folder, month, file, sha256.hex()):
            if scope.has(document):
                add(document)
    arguments = scope.arguments()
    records = statement("retention/tenant_records")
    async for row in connection.cursor(records, *arguments, prefetch=_BLOCK):
        add(archive.record(dict(row)))
    executions = statement("retention/tenant_executions")
    async for (body,) in connection.cursor(executions, *arguments, prefetch=_BLOCK):
        for transition in _transitions(orjson.loads(body)):
            writer.add("transition", transition)


def _named(scope: Scope) -> str:
    what = f"the execution {scope.execution_id}" if scope.execution_id else "executions"
    when = " recorded in that time" if scope.since or scope.until else ""
    return f"{what} of tenant {scope.tenant}{when}"


def _archived(folder: Path | None, month: date, file: str, sha256: str) -> Iterator[Document]:
    """The records of an archived month. Raises CannotExport."""
    where = f"records of {month:%Y-%m} may be in the archived month {file}"
    if folder is None:
        raise CannotExport(f"{where}: give the folder that it is in with --archive")
    path = folder / file
    if not path.exists():
        raise CannotExport(f"{where}, which is not in {folder}")
    if archive.sha256(path) != sha256:
        raise CannotExport(
            f"{path} is not the file that was archived: its sha256 is another one (`milepost audit"
            " verify` says what was changed). Nothing was exported"
        )
    for line in archive.lines(path):
        if line.document is not None and line.document.get("kind") == "record":
            yield line.document


def _told(document: Document) -> dict[str, Any]:
    """A record with the time that only its own bytes tell, and why it became what it became."""
    event = decode(StoredRecord(*archive.raw(document)))
    return {
        **{name: value for name, value in document.items() if name not in ("line", "kind")},
        "reported_at": moment(event.reported) if isinstance(event, Event) else None,
        "why": why(document["disposition"], document["reason"]),
    }


def _transitions(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    view = render(body)
    for transition in view["transitions"]:
        yield {"tenant": view["tenant"], "execution_id": view["execution_id"], **transition}
