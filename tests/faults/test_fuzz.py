"""Whatever is in a record: it is folded or quarantined, it is in the log once, and nothing stops.

`MILEPOST_TEST_INPUTS` spoils so many records, `MILEPOST_TEST_SEED` others than these; a batch that fails
says with which seed it comes again: `MILEPOST_TEST_SEED=<seed> MILEPOST_TEST_INPUTS=1000`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from itertools import islice
from random import Random

import asyncpg
import pytest

from faults.spoiling import spoilt, valid
from milepost.projections import store
from milepost.projections.batch import decode_all
from milepost.projections.store import Batch, Store
from milepost.schemas.topics import Topics
from projections.runs import placed

BATCH = 1_000
INPUTS = int(os.environ.get("MILEPOST_TEST_INPUTS", "20000"))
SEED = int(os.environ.get("MILEPOST_TEST_SEED", "7"))
# Seconds that a batch may take, on a slow machine: a transaction has 10, and some are tried again
# without what Postgres refuses.
STALLED = 60.0


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with await store.connect(database, size=2) as pool:
        yield pool


async def test_no_record_stops_the_fold(pool: asyncpg.Pool) -> None:
    topics = Topics("fuzz.")
    log = Store(pool, topics)
    epoch = (await log.acquire(topics.events, 0, 0)).epoch
    kinds: Counter[str] = Counter()
    for start in range(0, INPUTS, BATCH):
        seed = SEED + start // BATCH
        random = Random(seed)
        records = [
            spoilt(random, one) if random.random() < 0.9 else one
            for one in islice(valid(random), BATCH)
        ]
        mine = [one._replace(topic=topics.events) for one in placed(records, start)]
        try:
            async with asyncio.timeout(STALLED):
                decoded = decode_all(mine)
                await log.write(Batch(topics.events, 0, start, start + BATCH, decoded), epoch, None)
        except Exception as error:
            error.add_note(f"MILEPOST_TEST_SEED={seed} MILEPOST_TEST_INPUTS={BATCH}")
            raise
        kinds.update(type(one.event).__name__ for one in decoded)
    # Not only refused: much of what was changed is still an event.
    assert kinds["Event"] > INPUTS // 10
    rows = await pool.fetch(
        'SELECT disposition, count(*), count(DISTINCT "offset") AS distinct,'
        " count(*) FILTER (WHERE reason LIKE 'unstorable%') AS unstorable"
        " FROM event_log WHERE topic = $1 GROUP BY 1",
        topics.events,
    )
    assert sum(row["count"] for row in rows) == sum(row["distinct"] for row in rows) == INPUTS
    folded = {row["disposition"]: row["count"] for row in rows}
    assert folded["quarantined"] == kinds["Rejection"] + sum(row["unstorable"] for row in rows)
    assert (
        await pool.fetchval("SELECT next_offset FROM positions WHERE topic = $1", topics.events)
        == INPUTS
    )
