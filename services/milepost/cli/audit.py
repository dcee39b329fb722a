"""The commands for auditors: legal holds, and everything about a tenant's executions in one file."""

import asyncio
import dataclasses
import getpass
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from uuid import UUID

from cyclopts import App, Parameter

from milepost.cli import display, logs
from milepost.cli.display import Output
from milepost.cli.failures import USAGE, Unable
from milepost.cli.maintenance import INTERRUPTED, progress, say
from milepost.cli.signals import until_stopped
from milepost.cli.times import When, meant
from milepost.settings import Settings

if TYPE_CHECKING:
    from milepost.projections.archive_check import Checked

T = TypeVar("T")

app: Final = App(
    name="audit",
    help="""Hold, export and check the history of executions.

    These work on the database itself, not through the API.

    Example: `milepost audit export --tenant acme acme.jsonl.gz`
    """,
)
Tenant = Annotated[str, Parameter(name="TENANT")]
File = Annotated[Path, Parameter(name="FILE")]


@app.command
def hold(tenant: Tenant, /, *, reason: str) -> None:
    """Keep a tenant's history in the database: no month with records of it is archived.

    Example: `milepost audit hold acme --reason "case 12"`

    Args:
        tenant: Whose history.
        reason: What for; a tenant may be held for several reasons at once.
    """
    from milepost.projections.holds import hold

    now = datetime.now(UTC)
    placed = _on_database(lambda connection: hold(connection, tenant, reason, now, _who()))
    print(f"{tenant} is held for {reason!r}{'' if placed else ', as it was before'}")


@app.command
def release(tenant: Tenant, /, *, reason: str) -> None:
    """Release a hold; those for other reasons stay in force.

    Example: `milepost audit release acme --reason "case 12"`

    Args:
        tenant: Whose history.
        reason: The reason that it was placed for.
    """
    from milepost.projections.holds import release

    now = datetime.now(UTC)
    if not _on_database(lambda connection: release(connection, tenant, reason, now, _who())):
        raise Unable(
            f"{tenant} is not held for {reason!r}: `milepost audit holds` lists who is, and what for"
        )
    print(f"{tenant} is not held for {reason!r} any more")


@app.command
def holds(*, output: Output = "text") -> None:
    """List every hold that there is and was, those in force first.

    Example: `milepost audit holds`

    Args:
        output: A table for people, one JSON array, or one JSON object a line.
    """
    from milepost.projections.holds import Hold, holds

    found: list[Hold] = _on_database(holds)
    if output == "text":
        made = display.table("TENANT", "REASON", "PLACED", "BY", "RELEASED", "BY")
        for one in found:
            cells = (
                one.tenant, one.reason, display.moment(one.placed_at), one.placed_by,
                display.moment(one.released_at), one.released_by or "-",
            )  # fmt: skip
            made.add_row(*map(display.one_line, cells))
        display.console().print(made)
        return
    lines = [json.dumps(one._asdict(), default=_json) for one in found]
    print("\n".join(lines) if output == "jsonl" else f"[{', '.join(lines)}]")


@app.command
def export(
    file: File,
    /,
    *,
    tenant: str,
    execution: UUID | None = None,
    from_: Annotated[When | None, Parameter(name="--from")] = None,
    to: When | None = None,
    archive: Path | None = None,
    output: Output = "text",
) -> int:
    """Write every raw record of a tenant's executions, what became of each and why, and all transitions.

    The file is gzip of JSON lines; `milepost audit verify` tells whether it is as it was written. The
    audit notes that it was made.

    Example: `milepost audit export --tenant acme --from 2026-01-01 --archive /srv/milepost acme.jsonl.gz`

    Args:
        file: The file to write; there must be none of that name.
        tenant: Whose executions.
        execution: Only this one.
        from_: Only what was recorded from then on: a time (UTC without an offset), or how long ago.
        to: Only what was recorded before then.
        archive: The folder with the files of archived months, where they are needed.
        output: A line for people, or one JSON object.
    """
    from milepost.projections.audit_export import Scope, export

    if file.exists():
        raise Unable(f"{file} is there already: name another file, or move it away", USAGE)
    settings = Settings()
    logs.configure_for_commands(settings)
    scope = Scope(tenant, str(execution) if execution else None, meant(from_), meant(to))
    with progress() as report:
        work = export(settings.dsn, file, scope, archive, datetime.now(UTC), _who(), report)
        written = asyncio.run(until_stopped(work, say))
    if written is None:
        return INTERRUPTED
    if output == "text":
        print(f"{_counted(written.counts)} in {file}")
        print(f"chain: {written.chain} (whoever has it can tell this file from one made anew)")
    else:
        print(json.dumps({"file": str(file), **written._asdict()}))
    return 0


@app.command
def verify(file: File, /, *, output: Output = "text") -> int:
    """Tell whether an export or the file of an archived month is as it was written, without a database.

    Exit status 1 where a record was changed, removed, added or moved, with the line of each.

    Example: `milepost audit verify acme.jsonl.gz`

    Args:
        file: The file.
        output: Lines for people, or one JSON object.
    """
    from milepost.projections.archive_check import check

    checked = check(file)
    if output == "text":
        _show(file, checked)
    else:
        findings = [one._asdict() for one in checked.findings]
        print(json.dumps({**dataclasses.asdict(checked), "findings": findings}))
    return 1 if checked.problems else 0


def _show(file: Path, checked: "Checked") -> None:
    for line, problem, topic, partition, offset, execution_id in checked.findings:
        where = f"{file}:{line}" if line else str(file)
        what = f" ({topic}/{partition}/{offset}, execution {execution_id})" if topic else ""
        print(display.one_line(f"{where}: {problem}{what}"))
    if checked.problems > len(checked.findings):
        print(f"and {checked.problems - len(checked.findings):,} more")
    if checked.problems:
        return
    print(f"as it was written: {_counted(checked.counts)}, {checked.lines:,} lines")
    print(f"chain: {checked.chain}")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts.get(kind, 0):,} {kind}s" for kind in ("record", "transition"))


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()} (command line)"


def _on_database(work: Callable[[Any], Awaitable[T]]) -> T:
    import asyncpg

    settings = Settings()
    logs.configure_for_commands(settings)

    async def run() -> T:
        connection = await asyncpg.connect(settings.dsn)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def _json(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
