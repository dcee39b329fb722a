"""`milepost db maintain --archive` and `milepost audit`: what people and scripts are told."""

import asyncio
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from milepost.cli import logs
from milepost.cli.app import app
from milepost.cli.failures import Unable
from projections.stored import Log, connected

OLD = datetime(2019, 8, 10, 12, tzinfo=UTC)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs a command on this module's database: the exit status, and what it printed."""
    monkeypatch.setenv("MILEPOST_DATABASE_URL", database)
    loggers = [logging.getLogger(name) for name in (None, *logs._LIBRARIES)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]

    def command(*arguments: str) -> tuple[int, str]:
        status = app([*arguments])
        return status or 0, capsys.readouterr().out

    yield command
    # Commands set logging up for a process of their own.
    structlog.reset_defaults()
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


async def _fill(dsn: str) -> tuple[str, str]:
    look = await asyncpg.connect(dsn)
    async with await connected(dsn) as pool:
        log = Log(pool, look)
        one = log.run()
        await log.write(*(record.recorded_at(OLD) for record in (one.requested(), one.failed())))
        await look.execute("UPDATE positions SET relayed = next_offset")
    await look.close()
    return log.tenant, one.execution_id


def test_from_a_hold_to_an_export_out_of_the_archive(
    run: Run, database: str, tmp_path: Path
) -> None:
    tenant, execution_id = asyncio.run(_fill(database))
    for _ in range(2):
        status, _out = run("audit", "hold", tenant, "--reason", "case 12")
        assert status == 0
    maintain = ("db", "maintain", "--archive", str(tmp_path), "--keep-months", "12")
    status, out = run(*maintain)
    assert (status, f"stays    event_log_2019_08: legal hold: it has records of {tenant}" in out) == (
        0, True,
    )  # fmt: skip
    with pytest.raises(Unable, match="audit holds"):
        run("audit", "release", tenant, "--reason", "case 13")
    assert run("audit", "release", tenant, "--reason", "case 12")[0] == 0
    _, out = run("audit", "holds", "-o", "jsonl")
    held = json.loads(out)
    assert (held["tenant"], held["reason"], bool(held["released_at"])) == (tenant, "case 12", True)
    assert "case 12" in run("audit", "holds")[1]
    _, out = run("db", "maintain", "--keep-months", "12", "--dry-run")
    assert "would go event_log_2019_08" in out
    _, out = run(*maintain, "-o", "json")
    [month] = [one for one in json.loads(out) if "archived" in one]
    assert (month["archived"], month["records"]) == (True, 2)
    assert run(*maintain)[0] == 0

    file = tmp_path / "acme.jsonl.gz"
    export = ("audit", "export", "--tenant", tenant, "--execution", execution_id, str(file))
    status, out = run(*export, "--archive", str(tmp_path), "-o", "json")
    written = json.loads(out)
    assert (status, written["counts"]) == (0, {"record": 2, "transition": 2})
    with pytest.raises(Unable, match="is there already"):
        run(*export)
    for path in (file, tmp_path / month["file"]):
        assert run("audit", "verify", str(path))[0] == 0
    _spoil(file)
    status, out = run("audit", "verify", str(file))
    assert (status, f"{file}:2: changed" in out, execution_id in out) == (1, True, True)
    status, out = run("audit", "verify", str(file), "-o", "json")
    checked: dict[str, Any] = json.loads(out)
    assert (status, checked["problems"], checked["findings"][0]["line"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--keep-months", "3"), "takes both"),
        (("--archive", "."), "takes both"),
        (("--archive", "nowhere", "--keep-months", "3"), "no such folder"),
    ],
)
def test_what_is_missing_is_said(run: Run, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(Unable, match=why):
        run("db", "maintain", *arguments)


def _spoil(file: Path) -> None:
    text = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(text.replace(b'"applied"', b'"ignored"', 1)))
