"""How the cost of an event grows: with workers, partitions, stored executions, and one large tenant."""

import asyncpg

from benchmarks.backlog import EVENTS, Folding, fold, load
from benchmarks.stack import Stack, processor
from milepost.settings import Settings
from signals import following

WORKERS = (1, 2, 4)
PARTITIONS = (1, 4, 8, 16, 32)
STORED = (0, 1_000_000, 10_000_000)
HOT = 0.5  # the share of executions that one tenant has
DEEP = 100  # times the executions of the others: 10 million events as it comes
LOOKS = 20
SLOWEST = 500.0  # events a second
CHUNK = 500_000
# Indexed as real ones; what their bodies hold is not looked at.
_STORE = """
INSERT INTO executions (
    tenant, execution_id, state, version, ordinal, operation, provider, first_recorded_at,
    recorded_at, ended_at, body
)
SELECT 'tenant-' || number % 100, gen_random_uuid(), 'succeeded', 5, 5, 'provision', 'ecs',
    at, at, at, '{}'
FROM generate_series(1, $1) AS number
CROSS JOIN LATERAL (SELECT now() - number * interval '1 second' AS at)
"""


async def measure(stack: Stack, executions: int, runs: int) -> dict[str, list[float]]:
    """Thousand events/s and CPU microseconds an event of each setting, alternated."""
    figures: dict[str, list[float]] = {}

    def note(name: str, told: Folding) -> None:
        figures.setdefault(f"scale: thousand events/s, {name}", []).append(told.rate / 1e3)
        figures.setdefault(f"scale: CPU, microseconds an event, {name}", []).append(told.cpu)

    backlogs = {
        f"{partitions} partitions": await _loaded(stack, executions, partitions=partitions)
        for partitions in PARTITIONS
    }
    even, hot = await _loaded(stack, executions), await _loaded(stack, executions, hot=HOT)
    for _ in range(runs):
        for workers in WORKERS:
            settings = await stack.beside(even)
            note(f"{workers} workers", await fold(settings, executions * EVENTS, workers=workers))
        for name, loaded in (*backlogs.items(), ("one tenant has half", hot)):
            note(name, await fold(await stack.beside(loaded), executions * EVENTS))
    for stored in STORED:
        for _ in range(runs):
            settings = await stack.beside(even)
            await _store(settings, stored)
            note(f"{stored:,} executions stored", await fold(settings, executions * EVENTS))
            await stack.drop(settings)
    return figures | await _memory(stack, executions * DEEP)


async def _memory(stack: Stack, executions: int) -> dict[str, list[float]]:
    """What a worker holds while it folds a deep backlog, looked at every twentieth of it."""
    settings = await _loaded(stack, executions)
    records, held = executions * EVENTS, []
    async with following(settings) as positions, processor(settings) as worker:
        for look in range(1, LOOKS + 1):
            await positions.reach(records * look // LOOKS, within=records / LOOKS / SLOWEST)
            held.append(worker.process.memory_info().rss / 1e6)
    return {f"scale: memory of a worker over a backlog of {records:,} events, MB": held}


async def _loaded(
    stack: Stack, executions: int, *, partitions: int = 4, hot: float = 0
) -> Settings:
    settings = await stack.fresh(partitions)
    await load(settings, executions, hot=hot)
    return settings


async def _store(settings: Settings, count: int) -> None:
    connection = await asyncpg.connect(settings.dsn)
    try:
        for start in range(0, count, CHUNK):
            await connection.execute(_STORE, min(CHUNK, count - start))
        await connection.execute("VACUUM ANALYZE executions")
    finally:
        await connection.close()
