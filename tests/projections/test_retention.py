"""Months of the log: to a file that is read back, out of the log, and still there for whoever asks."""

import asyncio
import gzip
import json
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.projections import archive, audit_export, rebuild, retention
from milepost.projections.archive_check import check, manifest_of
from milepost.projections.audit_export import CannotExport, Scope
from milepost.projections.generation import NoGeneration
from milepost.projections.holds import hold, holds, release
from milepost.projections.retention import NotArchived, Outcome, archive_months
from projections.runs import Record
from projections.stored import Log, connected

NOW: Final = datetime(2026, 8, 15, tzinfo=UTC)
# Seven years before.
OLD: Final = datetime(2019, 8, 10, 12, tzinfo=UTC)
LATER: Final = datetime(2019, 9, 1, tzinfo=UTC)
MONTH: Final = "event_log_2019_08"


@pytest.fixture
async def log(dsn: str) -> AsyncIterator[Log]:
    """An execution of seven years ago that went on into the next month, one of that month, and what
    was no event; all sent out."""
    look = await asyncpg.connect(dsn)
    async with await connected(dsn) as pool:
        log = Log(pool, look)
        one, two = log.run("a"), log.run("b")
        garbage = one.started()._replace(value=b"{")
        old = [
            one.requested(parameters={"size": 2}), one.started(resources=({"kind": "pod", "id": "p"},)),
            garbage, two.requested(), two.failed(),
        ]  # fmt: skip
        await log.write(*(record.recorded_at(OLD) for record in old))
        await write(log, one.succeeded(outputs={"url": "x"}).recorded_at(LATER), start=5)
        yield log
    await look.close()


async def write(log: Log, *records: Record, start: int) -> None:
    """Fold these, and have everything sent out."""
    await log.write(*records, start=start)
    await log.look.execute("UPDATE positions SET relayed = next_offset")


async def maintain(dsn: str, folder: Path | None, keep: int = 12) -> dict[str, Outcome]:
    """What became of each old month."""
    return {one.partition: one for one in await archive_months(dsn, folder, keep, NOW)}


def read(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def kept_in_log(log: Log) -> int:
    return int(await log.look.fetchval("SELECT count(*) FROM event_log"))


class TestMonths:
    async def test_what_is_over_goes_to_files_and_a_rebuild_is_the_same(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        before = await rebuild.verify(dsn)
        views = await log.fetch("executions", "*", "execution_id")
        found = await maintain(dsn, tmp_path)
        assert {name: one.archived for name, one in found.items()} == {
            MONTH: True, "event_log_2019_09": True,
        }  # fmt: skip
        assert await kept_in_log(log) == 0
        rebuilt = await rebuild.rebuild(dsn)
        assert rebuilt.folded_hash == before.live_hash
        assert (rebuilt.carried_over, rebuilt.equal) == (2, True)
        assert await log.fetch("executions", "*", "execution_id") == views
        assert await log.activity() == await log.states()
        assert await log.fetch("resources", "kind, id") == [("pod", "p")]
        # What is told of a sealed one later goes on where it ended.
        await write(log, log.run("a").progressed(at=9).recorded_at(NOW), start=6)
        again = await rebuild.rebuild(dsn)
        assert (again.equal, again.live_hash) == (True, again.folded_hash)
        assert ("late", None) in await log.dispositions()

    async def test_the_file_has_every_record_whole_and_is_described(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        rows = await log.look.fetch(
            'SELECT * FROM event_log WHERE recorded_at < $1 ORDER BY "offset"', LATER
        )
        outcome = (await maintain(dsn, tmp_path))[MONTH]
        header, *records, trailer = read(tmp_path / f"{MONTH}.jsonl.gz")
        assert (header["of"], header["month"], header["version"]) == ("month", "2019-08", 1)
        assert (outcome.records, trailer["counts"]) == (5, {"record": 5})
        for row, document in zip(rows, records, strict=True):
            raw = archive.raw(document)
            assert raw == tuple(row[name] for name in raw._fields)
            assert document["sha256"] == row["sha256"].hex() == archive.raw_sha256(raw)
            known = ("ordinal", "disposition", "reason", "tenant", "event_id")
            assert [document[name] for name in known] == [row[name] for name in known]
        manifest = json.loads(manifest_of(tmp_path / f"{MONTH}.jsonl.gz").read_bytes())
        assert manifest["sha256"] == outcome.sha256 == archive.sha256(tmp_path / manifest["file"])
        [span] = manifest["offsets"]
        assert (span["first_offset"], span["last_offset"], span["records"]) == (0, 4, 5)
        assert manifest["first_recorded_at"] == "2019-08-10T12:00:00Z"
        assert check(tmp_path / manifest["file"]).problems == 0

    async def test_months_that_must_stay_do_and_say_why(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        await log.look.execute("UPDATE positions SET relayed = 4")
        assert "positions.relayed" in str((await maintain(dsn, tmp_path))[MONTH].reason)
        await write(log, log.run("c").requested().recorded_at(OLD), start=6)
        reason = (await maintain(dsn, tmp_path))[MONTH].reason
        assert reason
        assert log.run("c").execution_id in reason
        assert "not over" in reason
        await write(log, log.run("c").cancelled().recorded_at(NOW), start=7)
        await hold(log.look, log.tenant, "case 12", NOW, "me")
        assert not await hold(log.look, log.tenant, "case 12", NOW, "me")
        await hold(log.look, log.tenant, "case 13", NOW, "me")
        assert log.tenant in str((await maintain(dsn, tmp_path))[MONTH].reason)
        assert await release(log.look, log.tenant, "case 12", NOW, "you")
        assert not await release(log.look, log.tenant, "case 12", NOW, "you")
        assert "legal hold" in str((await maintain(dsn, tmp_path))[MONTH].reason)
        assert f"{MONTH}.jsonl.gz" not in contents(tmp_path)
        assert await release(log.look, log.tenant, "case 13", NOW, "you")
        assert (await maintain(dsn, tmp_path))[MONTH].archived
        assert [(one.reason, one.released_by) for one in await holds(log.look)] == [
            ("case 12", "you"), ("case 13", "you"),
        ]  # fmt: skip
        deeds = await log.look.fetch("SELECT action, principal FROM audit ORDER BY at, action")
        assert sorted(map(tuple, deeds)) == [
            *[("legal hold: hold", "me")] * 2, *[("legal hold: release", "you")] * 2,
        ]  # fmt: skip

    async def test_young_months_stay_and_looking_changes_nothing(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        assert await maintain(dsn, None, keep=7 * 12 + 1) == {}
        looked = await maintain(dsn, None, keep=7 * 12 - 1)
        assert [(one.partition, one.archived, one.reason) for one in looked.values()] == [
            (MONTH, False, None)
        ]
        assert await kept_in_log(log) == 6

    async def test_no_month_goes_twice(self, dsn: str, log: Log, tmp_path: Path) -> None:
        await maintain(dsn, tmp_path)
        files = contents(tmp_path)
        await write(log, log.run("d").failed().recorded_at(OLD), start=6)
        again = await maintain(dsn, tmp_path)
        assert "after the month was archived" in str(again[MONTH].reason)
        assert await kept_in_log(log) == 1
        assert contents(tmp_path) == files

    async def test_nothing_is_dropped_for_a_file_that_is_not_what_the_log_has(
        self, dsn: str, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken = tmp_path / f"{MONTH}.jsonl.gz"
        taken.write_bytes(b"another database's")
        with pytest.raises(NotArchived, match="has other contents"):
            await maintain(dsn, tmp_path)
        assert taken.read_bytes() == b"another database's"
        taken.unlink()

        def spoiled(row: dict[str, Any]) -> dict[str, Any]:
            return record(row) | {"value": "AAAA"}

        record = archive.record
        monkeypatch.setattr(archive, "record", spoiled)
        with pytest.raises(NotArchived, match="bytes are not those of its sha256"):
            await maintain(dsn, tmp_path)
        assert await kept_in_log(log) == 6
        assert contents(tmp_path) == {}

    async def test_a_rebuild_and_the_archiving_keep_out_of_each_others_way(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        other = await asyncpg.connect(dsn)
        await rebuild.exclude_others(other)
        with pytest.raises(rebuild.RebuildRunning):
            await maintain(dsn, tmp_path)
        await other.close()

    async def test_whoever_reads_the_log_for_long_is_not_waited_for(
        self, dsn: str, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(retention._SESSION, "lock_timeout", "20ms")
        async with log.look.transaction():
            await log.look.fetchval("SELECT count(*) FROM event_log")
            # Its records are in the default partition yet, which the reader keeps as well.
            assert "uses the log" in str((await maintain(dsn, tmp_path))[MONTH].reason)
        monkeypatch.setitem(retention._SESSION, "lock_timeout", "2s")
        await hold(log.look, log.tenant, "x", NOW, "me")
        await maintain(dsn, tmp_path)
        await release(log.look, log.tenant, "x", NOW, "me")
        monkeypatch.setitem(retention._SESSION, "lock_timeout", "20ms")
        async with log.look.transaction():
            await log.look.fetchval("SELECT count(*) FROM event_log")
            assert "uses the log" in str((await maintain(dsn, tmp_path))[MONTH].reason)
        assert (await maintain(dsn, tmp_path))[MONTH].archived

    async def test_a_generation_that_does_not_know_the_month_goes_with_it(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        await rebuild.rebuild(dsn)
        await write(log, log.run("d").failed().recorded_at(LATER), start=6)
        found = await maintain(dsn, tmp_path)
        assert [one.previous_dropped for one in found.values()] == [False, True]
        with pytest.raises(NoGeneration, match="no earlier generation"):
            await rebuild.rollback(dsn)


KILLED: Final = """
import asyncio, os, signal, sys
from datetime import datetime
from pathlib import Path
from milepost.projections import archive, retention

at, left = sys.argv[3], [int(sys.argv[4])]
owner = archive if hasattr(archive, at) else retention
whole = getattr(owner, at)

def dies(*arguments):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return whole(*arguments)

setattr(owner, at, dies)
asyncio.run(retention.archive_months(
    sys.argv[1], Path(sys.argv[2]), 12, datetime.fromisoformat(sys.argv[5])
))
"""


async def test_killed_it_is_completed_by_the_next_run(dsn: str, log: Log, tmp_path: Path) -> None:
    # In the middle of a file; and with one month archived and the file of the next one there.
    points = [("record", 3), ("_take_out", 1)]
    for at, after in points:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", KILLED, dsn, str(tmp_path), at, str(after), NOW.isoformat())
        )
        assert await process.wait() == -signal.SIGKILL, at
        archived = [month for (month,) in await log.look.fetch("SELECT file FROM archived_months")]
        assert await kept_in_log(log) == (1 if archived else 6), at
        assert bool(archived) == (at == "_take_out")
        for file in archived:
            assert check(tmp_path / file).problems == 0
    await maintain(dsn, tmp_path)
    assert await kept_in_log(log) == 0
    files = sorted(contents(tmp_path))
    names = [MONTH, "event_log_2019_09"]
    assert files == sorted(
        f"{name}.{end}" for name in names for end in ("jsonl.gz", "manifest.json")
    )
    assert sum(len(read(tmp_path / f"{name}.jsonl.gz")) - 2 for name in names) == 6


class TestExport:
    async def test_one_of_seven_years_ago_is_explained_from_the_archive_and_the_log(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        one = log.run("a").execution_id
        live, archived = tmp_path / "live.jsonl.gz", tmp_path / "archived.jsonl.gz"
        scope = Scope(log.tenant, one)
        await audit_export.export(dsn, live, scope, None, NOW, "me")
        await maintain(dsn, tmp_path, keep=7 * 12 - 1)  # one month is archived, the next one not
        with pytest.raises(CannotExport, match=f"{MONTH}.jsonl.gz: give the folder"):
            await audit_export.export(dsn, archived, scope, None, NOW, "me")
        assert not archived.exists()
        written = await audit_export.export(dsn, archived, scope, tmp_path, NOW, "me")
        # From wherever they come: the same lines.
        assert archived.read_bytes() == live.read_bytes()
        header, *lines, _ = read(archived)
        assert (header["of"], header["tenant"], header["exported_by"]) == (
            "audit",
            log.tenant,
            "me",
        )
        assert written.counts == {"record": 3, "transition": 3}
        records = [line for line in lines if line["kind"] == "record"]
        assert [(line["ordinal"], line["disposition"]) for line in records] == [
            (1, "applied"), (2, "applied"), (3, "applied"),
        ]  # fmt: skip
        for line in records:
            assert line["why"] == "It moved the execution on, or brought newer facts."
            assert None not in (line["occurred_at"], line["reported_at"], line["recorded_at"])
        states = [line["state"] for line in lines if line["kind"] == "transition"]
        assert states == ["pending", "running", "succeeded"]
        assert check(archived).problems == 0
        assert (
            await log.look.fetchval("SELECT count(*) FROM audit WHERE action = 'audit export'") == 2
        )

    async def test_only_what_is_asked_for(self, dsn: str, log: Log, tmp_path: Path) -> None:
        async def counts(name: str, **scope: Any) -> dict[str, int]:
            asked = Scope(**{"tenant": log.tenant} | scope)
            return (await audit_export.export(dsn, tmp_path / name, asked, None, NOW, "me")).counts

        assert await counts("all") == {"record": 5, "transition": 5}
        assert await counts("since", since=LATER) == {"record": 1, "transition": 3}
        assert (await counts("until", until=LATER))["record"] == 4
        with pytest.raises(CannotExport, match="nothing is known of executions of tenant globex"):
            await counts("none", tenant="globex")
        assert not (tmp_path / "none").exists()

    async def test_a_damaged_archive_is_not_exported(
        self, dsn: str, log: Log, tmp_path: Path
    ) -> None:
        await maintain(dsn, tmp_path)
        path = tmp_path / f"{MONTH}.jsonl.gz"
        path.write_bytes(path.read_bytes() + b"\0")
        with pytest.raises(CannotExport, match="its sha256 is another"):
            await audit_export.export(dsn, tmp_path / "x", Scope(log.tenant), tmp_path, NOW, "me")


LINES: Final = 7


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of five records."""
    path = tmp_path_factory.mktemp("sample") / "sample.jsonl.gz"
    writer = archive.Writer(path, {"of": "audit"})
    for offset in range(LINES - 2):
        raw = archive.Raw("t", 0, offset, OLD, b"k", b"[]", b"%d" % offset)
        row = raw._asdict() | {
            "execution_id": f"e-{offset}", "disposition": "applied", "emitted": None,
            "occurred_at": OLD, "sha256": bytes.fromhex(archive.raw_sha256(raw)),
        }  # fmt: skip
        writer.add("record", archive.record(row))
    writer.finish()
    return path


class TestVerify:
    def test_as_it_was_written(self, sample: Path) -> None:
        checked = check(sample)
        assert (checked.problems, checked.lines, checked.counts) == (
            0,
            LINES,
            {"record": LINES - 2},
        )

    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_one_change_of_any_line_is_found(
        self, sample: Path, tmp_path: Path, data: st.DataObject
    ) -> None:
        lines = gzip.decompress(sample.read_bytes()).splitlines(keepends=True)
        number = data.draw(st.integers(0, LINES - 1), "line")
        how = data.draw(st.sampled_from(["byte", "insert", "cut", "remove", "repeat", "swap"]))
        line = lines[number]
        place = data.draw(st.integers(0, len(line) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda one: one != line[place]))
        match how:
            case "byte":
                lines[number] = line[:place] + bytes([byte]) + line[place + 1 :]
            case "insert":
                lines[number] = line[:place] + bytes([byte]) + line[place:]
            case "cut":
                lines[number] = line[:place] + line[place + 1 :]
            case "remove":
                del lines[number]
            case "repeat":
                lines.insert(data.draw(st.integers(0, LINES)), line)
            case "swap":
                other = data.draw(st.integers(0, LINES - 1).filter(lambda one: one != number))
                lines[number], lines[other] = lines[other], line
        path = tmp_path / "changed.jsonl.gz"
        path.write_bytes(gzip.compress(b"".join(lines)))
        checked = check(path)
        assert checked.problems
        assert checked.findings
        if how in ("byte", "insert", "cut") and line[place] != ord("\n") and byte != ord("\n"):
            assert number + 1 in {finding.line for finding in checked.findings}

    def test_which_record_was_changed_is_told(self, sample: Path, tmp_path: Path) -> None:
        text = gzip.decompress(sample.read_bytes())
        path = tmp_path / "changed.jsonl.gz"
        path.write_bytes(
            gzip.compress(text.replace(b'"execution_id":"e-3"', b'"execution_id":"e-4"'))
        )
        [finding] = check(path).findings
        assert (finding.line, finding.offset, finding.execution_id) == (5, 3, "e-4")

    @pytest.mark.parametrize("end", [0, 5, 40, -1, -30])
    def test_a_file_that_was_cut_off(self, sample: Path, tmp_path: Path, end: int) -> None:
        path = tmp_path / "cut.jsonl.gz"
        path.write_bytes(sample.read_bytes()[:end])
        assert check(path).problems

    def test_what_is_no_such_file(self, tmp_path: Path) -> None:
        path = tmp_path / "text"
        path.write_bytes(b"hello")
        assert "no gzip" in check(path).findings[0].problem

    def test_a_month_against_its_manifest(self, sample: Path, tmp_path: Path) -> None:
        path = tmp_path / "m.jsonl.gz"
        path.write_bytes(sample.read_bytes())
        manifest_of(path).write_bytes(orjson.dumps({"sha256": "0", "counts": {}}))
        assert "manifest" in check(path).findings[-1].problem
