"""Takes months out of the log that are over: written to a file, read back, then detached and dropped.

One transaction a month. It keeps writers away from that month alone until the file is there, from the
whole log for the moment of detaching only. Whenever it is interrupted, the month is either in the log
still or in a verified file that the database knows of.
"""

import os
import re
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
from asyncpg.exceptions import DeadlockDetectedError, LockNotAvailableError

from milepost.projections import archive
from milepost.projections.archive_check import check, manifest_of
from milepost.projections.generation import PREVIOUS, GenerationError
from milepost.projections.migrate import Month, make_partition, month
from milepost.projections.rebuild import Progress, Report, exclude_others
from milepost.projections.statements import statement

# Records that are held in memory at once: each may have megabytes.
_BLOCK: Final = 100
_ATTEMPTS: Final = 5
_BUSY: Final = (LockNotAvailableError, DeadlockDetectedError)
_IN_USE: Final = "somebody uses the log for long (pg_stat_activity shows who): run it again"
_PARTITION: Final = re.compile(r"event_log_(\d{4})_(\d{2})")
_SESSION: Final = {
    "application_name": "milepost-retention",
    "timezone": "UTC",
    # Processors wait behind whoever waits for the log.
    "lock_timeout": "2s",
}


class NotArchived(GenerationError):
    """A month cannot be archived: its file is not what the log has, or its place is taken."""


@dataclass
class Outcome:
    """What became of a month of the log.

    `archived`: it is in `file` and no longer in the log; else `reason` says why it stays, None where
    it would go but was only looked at. `previous_dropped`: with it went the generation of the
    projections before the live one, which did not know all of its records.
    """

    partition: str
    archived: bool = False
    reason: str | None = None
    file: str | None = None
    sha256: str | None = None
    records: int = 0
    previous_dropped: bool = False


async def archive_months(
    dsn: str, folder: Path | None, keep_months: int, now: datetime, report: Report = lambda _: None
) -> list[Outcome]:
    """Archive the months of the log before the last `keep_months` whole ones, as far as they may go.

    `folder` None: only look. Raises NotArchived, rebuild.RebuildRunning (neither may run beside the
    other), OSError, or what asyncpg raises; what was done until then stays done.
    """
    before = month(now, -keep_months).first
    connection = await asyncpg.connect(dsn, server_settings=_SESSION)
    try:
        await exclude_others(connection)
        stay = await _out_of_default(connection, before, make=folder is not None)
        names = [name for (name,) in await connection.fetch(statement("retention/partitions"))]
        found = [_month(name) for name in names if _PARTITION.fullmatch(name)]
        return stay + [
            await _archive(connection, folder, one, report) for one in found if one.first < before
        ]
    finally:
        await connection.close()


def _month(name: str) -> Month:
    matched = _PARTITION.fullmatch(name)
    assert matched is not None, name
    return month(datetime(int(matched[1]), int(matched[2]), 1, tzinfo=UTC))


async def _out_of_default(
    connection: asyncpg.Connection, before: datetime, *, make: bool
) -> list[Outcome]:
    """Give the months whose records went to the default partition one of their own."""
    stay = []
    for first, archived in await connection.fetch(statement("retention/default_months"), before):
        found = month(datetime(first.year, first.month, 1, tzinfo=UTC))
        if archived:
            reason = "records came after the month was archived: they stay in the default partition"
            stay.append(Outcome(found.name, reason=reason))
        elif make:
            try:
                await make_partition(connection, found)
            except _BUSY:
                stay.append(Outcome(found.name, reason=_IN_USE))
        else:
            stay.append(Outcome(found.name, reason=await _why_not(connection, found)))
    return stay


async def _archive(
    connection: asyncpg.Connection, folder: Path | None, found: Month, report: Report
) -> Outcome:
    if folder is None:
        return Outcome(found.name, reason=await _why_not(connection, found))
    async with connection.transaction():
        # Names are matched, or made from a datetime. Nobody writes into this month from here on.
        reason = await _lock(connection, f"{found.name} IN SHARE MODE")
        if reason := reason or await _why_not(connection, found):
            return Outcome(found.name, reason=reason)
        spans = await connection.fetch(statement("retention/spans"), *found[1:])
        path = folder / f"{found.name}.jsonl.gz"
        written = await _write(connection, path, found, spans, report)
        # Whoever places a hold from here on waits, and then finds the month gone.
        reason = await _lock(connection, "legal_holds IN SHARE MODE")
        reason = reason or await _why_held(connection, found)
        # All processors would wait for somebody who stops here.
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '5s'")
        if reason := reason or await _lock(connection, "event_log IN ACCESS EXCLUSIVE MODE"):
            return Outcome(found.name, reason=reason)
        dropped = await _take_out(connection, found, path.name, written, spans)
    records = written.counts.get("record", 0)
    return Outcome(found.name, True, None, path.name, written.sha256, records, dropped)


async def _why_not(connection: asyncpg.Connection, found: Month) -> str | None:
    """Why a month stays; None where it may go."""
    bounds = found[1:]
    if held := await _why_held(connection, found):
        return held
    unended = await connection.fetchrow(statement("retention/open_executions"), *bounds)
    if unended and unended["executions"]:
        return (
            f"{unended['executions']:,} of its executions are not over, or not folded as far as the log"
            f" goes, e.g. {unended['one']}"
        )
    if unsent := await connection.fetchrow(statement("retention/unsent"), *bounds):
        return (
            f"nobody knows yet whether all of {unsent[0]}/{unsent[1]} was sent out (positions.relayed);"
            " the next records of this partition will tell"
        )
    return None


async def _why_held(connection: asyncpg.Connection, found: Month) -> str | None:
    tenants = [
        tenant
        for (tenant,) in await connection.fetch(statement("retention/held_tenants"), *found[1:])
    ]
    return f"legal hold: it has records of {', '.join(tenants)}" if tenants else None


async def _write(
    connection: asyncpg.Connection, path: Path, found: Month, spans: list[Any], report: Report
) -> archive.Written:
    """Write the month's file, read it back, and describe it. Raises NotArchived or OSError."""
    total = sum(span["records"] for span in spans)
    beside = path.with_name(f"{path.name}.new")
    done = 0
    with closing(
        archive.Writer(beside, {"of": "month", "month": f"{found.first:%Y-%m}"})
    ) as writer:
        query = statement("retention/month_records")
        # To its end, so that nothing is open on a month that is to be dropped.
        async for row in connection.cursor(query, *found[1:], prefetch=_BLOCK):
            writer.add("record", archive.record(dict(row)))
            done += 1
            report(Progress(f"writing {path.name}", done, total))
        written = writer.finish()
    report(Progress(f"reading {path.name} back", done, total))
    _accept(beside, path, written, total)
    _write_manifest(path, found, written, spans)
    return written


def _accept(beside: Path, path: Path, written: archive.Written, records: int) -> None:
    """Give a file its name where it is what was written, all of it. Raises NotArchived or OSError."""
    checked = check(beside)
    read = archive.Written(checked.sha256 or "", checked.chain or "", checked.counts)
    if checked.problems or read != written or checked.counts.get("record", 0) != records:
        beside.unlink()
        what = (
            "; ".join(str(finding) for finding in checked.findings)
            or f"{read} of {records} records"
        )
        raise NotArchived(f"{path} is not what the log has: {what}. The month stays in the log")
    if path.exists() and archive.sha256(path) != written.sha256:
        beside.unlink()
        raise NotArchived(
            f"{path} is there already and has other contents: look whose it is (`milepost audit"
            " verify`), move it away, and run this again. The month stays in the log"
        )
    archive.put(beside, path)


def _write_manifest(path: Path, found: Month, written: archive.Written, spans: list[Any]) -> None:
    first, last = _recorded(spans)
    manifest = {
        "version": archive.VERSION,
        "month": f"{found.first:%Y-%m}",
        "file": path.name,
        "bytes": path.stat().st_size,
        **written._asdict(),
        "first_recorded_at": first,
        "last_recorded_at": last,
        "offsets": [dict(span) for span in spans],
    }
    place = manifest_of(path)
    beside = place.with_name(f"{place.name}.part")
    with archive.create(beside) as file:
        file.write(orjson.dumps(manifest, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    archive.put(beside, place)


def _recorded(spans: list[Any]) -> tuple[datetime | None, datetime | None]:
    """When the first and the last of its records were recorded."""
    firsts = [span["first_recorded_at"] for span in spans]
    lasts = [span["last_recorded_at"] for span in spans]
    return min(firsts, default=None), max(lasts, default=None)


async def _lock(connection: asyncpg.Connection, what: str) -> str | None:
    """Lock a table until the transaction ends; why that cannot be, None once it is."""
    for _ in range(_ATTEMPTS):
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {what}")
        except _BUSY:
            continue
        return None
    return _IN_USE


async def _take_out(
    connection: asyncpg.Connection,
    found: Month,
    file: str,
    written: archive.Written,
    spans: list[Any],
) -> bool:
    """Note the file, detach the month and drop it; whether the previous generation went with it."""
    day, records = found.first.date(), written.counts.get("record", 0)
    await connection.execute(
        statement("retention/keep_month"),
        *(day, file, bytes.fromhex(written.sha256), records, *_recorded(spans)),
    )
    await connection.executemany(
        statement("retention/keep_offsets"), [(day, *list(span)[:5]) for span in spans]
    )
    previous = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", PREVIOUS)
    unknown = await connection.fetchval(statement("retention/unknown_to_previous"), *found[1:])
    if previous and unknown:
        await connection.execute(f"DROP SCHEMA {PREVIOUS} CASCADE")
    await connection.execute(f"ALTER TABLE event_log DETACH PARTITION {found.name}")
    await connection.execute(f"DROP TABLE {found.name}")
    return bool(previous and unknown)
