"""Who folds the same backlog: Milepost, what a user would pick instead, and the limit."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg
import psutil

from benchmarks.backlog import DEADLINE, EVENTS, Folding, fold, load
from benchmarks.environments import PEERS, NotInstalled, python_of
from benchmarks.limit import Limit
from benchmarks.stack import Stack
from milepost.settings import Settings
from stack import environment

OURS = "Milepost, one worker"
LIMIT = "limit: the same rows from memory"
LIMITS = "one connection, no Kafka, no decoding, no folding"
PLAIN = "plain aiokafka, the same fold"
QUIX_HISTORY = "Quix Streams, with history"


@dataclass(frozen=True)
class Backlog:
    """What everybody folds, each into an empty database."""

    stack: Stack
    loaded: Settings
    limit: Limit
    executions: int

    @property
    def events(self) -> int:
        """How many records there are."""
        return self.executions * EVENTS


class Contender(NamedTuple):
    """Somebody who folds a backlog, and what may be relied on then."""

    name: str
    semantics: str
    run: Callable[[Backlog], Awaitable[Folding]]


class Standing(NamedTuple):
    """What became of a contender: events/s of every run, and the ratio to the limit of the same run."""

    name: str
    semantics: str
    rates: list[float]
    ratios: list[float]


def _milepost(workers: int) -> Callable[[Backlog], Awaitable[Folding]]:
    async def run(backlog: Backlog) -> Folding:
        settings = await backlog.stack.beside(backlog.loaded)
        return await fold(settings, backlog.events, workers=workers)

    return run


def _peer(name: str, *arguments: str, executions: str) -> Callable[[Backlog], Awaitable[Folding]]:
    async def run(backlog: Backlog) -> Folding:
        settings = await backlog.stack.beside(backlog.loaded)
        return await _told(name, arguments, settings, backlog, executions)

    return run


async def _told(
    peer: str, arguments: tuple[str, ...], settings: Settings, backlog: Backlog, executions: str
) -> Folding:
    """Run a peer, which says `begun` at its first record and `done` after the last commit."""
    where = {
        "PEER_KAFKA": settings.kafka_bootstrap_servers,
        "PEER_DATABASE": settings.dsn,
        "PEER_TOPIC": settings.topics.events,
        "PEER_GROUP": settings.consumer_group,
        "PEER_EVENTS": str(backlog.events),
    }
    log = backlog.stack.folder / f"{peer}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            str(await python_of(peer)), str(PEERS / peer / "program.py"), *arguments,
            env=os.environ | environment(settings) | where, cwd=backlog.stack.folder,
            stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    usage = psutil.Process(process.pid)
    try:
        async with asyncio.timeout(DEADLINE):
            await _line(process, b"begun\n")
            began, before = time.perf_counter(), sum(usage.cpu_times()[:2])
            await _line(process, b"done\n")
        elapsed = time.perf_counter() - began
        cpu, memory = sum(usage.cpu_times()[:2]) - before, usage.memory_info().rss
    except (AssertionError, TimeoutError) as error:
        raise RuntimeError(f"{peer}: {error!r}\n{log.read_text()[-2_000:]}") from error
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await _check(settings, executions, backlog.executions)
    return Folding(backlog.events / elapsed, cpu / backlog.events * 1e6, memory / 1e6)


async def _line(process: asyncio.subprocess.Process, wanted: bytes) -> None:
    assert process.stdout is not None
    while (line := await process.stdout.readline()) != wanted:
        assert line, f"it ended before it said {wanted!r}"


async def _check(settings: Settings, table: str, executions: int) -> None:
    connection = await asyncpg.connect(settings.dsn)
    try:
        query = f"SELECT count(*) FROM {table} WHERE state = 'succeeded'"  # noqa: S608
        found = await connection.fetchval(query)
        assert found == executions, f"{found} of {executions} executions succeeded in {table}"
    finally:
        await connection.close()


CONTENDERS = (
    Contender(
        OURS,
        "exactly once: positions in the rows' transaction; completions in Kafka transactions;"
        " history, resources, tenants",
        _milepost(1),
    ),
    Contender("Milepost, two workers", "the same", _milepost(2)),
    Contender(
        PLAIN,
        "rows as Milepost's; completions at least once; no hand-over between workers",
        _peer("aiokafka", executions="executions"),
    ),
    Contender(
        "Quix Streams, PostgreSQL sink",
        "at least once, last write wins; no history, no completions",
        _peer("quix", executions="peer_executions"),
    ),
    Contender(
        QUIX_HISTORY,
        "at least once, last write wins; two sinks that commit apart; no completions",
        _peer("quix", "history", executions="peer_executions"),
    ),
    Contender(
        "stock Faust, take and a transaction",
        "history in the same transaction; a batch in flight is lost when it fails; no completions",
        _peer("faust", executions="peer_executions"),
    ),
)  # fmt: skip


async def measure(
    stack: Stack, executions: int, runs: int
) -> tuple[dict[str, list[float]], list[Standing]]:
    """Everybody in turn, each right after the limit, `runs` times after a warm-up, in changing order."""
    loaded = await stack.fresh()
    await load(loaded, executions)
    backlog = Backlog(stack, loaded, await Limit.of(loaded), executions)
    missing: dict[str, str] = {}
    limits: list[float] = []
    measured: dict[str, list[Folding]] = {one.name: [] for one in CONTENDERS}
    ratios: dict[str, list[float]] = {one.name: [] for one in CONTENDERS}
    for number in range(runs + 1):
        first = number % len(CONTENDERS)
        for contender in (*CONTENDERS[first:], *CONTENDERS[:first]):
            if contender.name in missing:
                continue
            limit = await backlog.limit.rate(await stack.beside(loaded))
            try:
                result = await contender.run(backlog)
            except NotInstalled as error:
                missing[contender.name] = f"not installed here: {error}"
                continue
            if number:  # the first run warms up
                limits.append(limit)
                measured[contender.name].append(result)
                ratios[contender.name].append(result.rate / limit)
    standings = [Standing(LIMIT, LIMITS, limits, [1.0])] + [
        Standing(
            one.name,
            missing.get(one.name, one.semantics),
            [run.rate for run in measured[one.name]],
            ratios[one.name],
        )
        for one in CONTENDERS
    ]
    return _figures(measured, limits, ratios), standings


def _figures(
    measured: dict[str, list[Folding]], limits: list[float], ratios: dict[str, list[float]]
) -> dict[str, list[float]]:
    figures = {f"backlog: thousand events/s, {LIMIT}": [rate / 1e3 for rate in limits]}
    for name, runs in measured.items():
        figures[f"backlog: thousand events/s, {name}"] = [run.rate / 1e3 for run in runs]
        figures[f"backlog: ratio to the limit, {name}"] = ratios[name]
        figures[f"backlog: CPU, microseconds an event, {name}"] = [run.cpu for run in runs]
    figures["backlog: memory of one worker, MB"] = [run.memory for run in measured[OURS]]
    for name in (PLAIN, QUIX_HISTORY):
        # Each by the limit beside it: between the two the machine may have changed.
        figures[f"backlog: ratio, one worker to {name}"] = [
            mine / theirs for mine, theirs in zip(ratios[OURS], ratios[name], strict=False)
        ]
    return {name: values for name, values in figures.items() if values}
