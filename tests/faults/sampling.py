"""What a running system holds: memory, files, threads, sessions, and the room that tables take."""

from collections.abc import Iterator
from typing import Final

import asyncpg
import psutil

from faults.flat import Measure
from faults.supervised import Supervised
from faults.system import System

Sample = dict[Measure, float]

# Tables that keep a row for each event, execution or call, and so grow: what a row takes must not.
_KEEPING: Final = (
    "event_log", "executions", "resources", "requests", "webhook_messages", "webhook_deliveries",
    "webhook_attempts",
)  # fmt: skip
# Tables whose rows are few and change all the time.
_CHANGING: Final = ("positions", "tenant_activity")
_MIB: Final = 2**20

# The dead are those that vacuum has not taken yet: it comes when they are a fifth.
_SIZES: Final = """
    SELECT root::text AS name, sum(pg_table_size(part))::bigint AS heap,
           sum(pg_indexes_size(part))::bigint AS indexes,
           sum(pg_stat_get_dead_tuples(part))::bigint AS dead
    FROM unnest($1::regclass[]) AS root
    LEFT JOIN LATERAL pg_partition_tree(root) AS tree ON true,
    coalesce(tree.relid, root) AS part
    GROUP BY root
"""
_SESSIONS: Final = """
    SELECT application_name, count(*) FROM pg_stat_activity
    WHERE application_name LIKE 'milepost-%' GROUP BY 1
"""


async def sample(system: System, look: asyncpg.Connection) -> Sample:
    """Everything at this moment. The services must run."""
    taken: Sample = {}
    for name, service in _named(system):
        taken |= _of_process(name, psutil.Process((await service.up()).pid))
    for application, count in await look.fetch(_SESSIONS):
        taken[Measure(f"sessions of {application}", "", much=3)] = count
    for row in await look.fetch(_SIZES, [*_KEEPING, *_CHANGING]):
        taken |= await _of_table(look, row)
    return taken


def _named(system: System) -> Iterator[tuple[str, Supervised]]:
    for number, processor in enumerate(system.processors, 1):
        yield f"processor {number}", processor
    yield "API", system.api
    yield "webhook worker", system.webhooks


def _of_process(name: str, process: psutil.Process) -> Sample:
    with process.oneshot():
        return {
            Measure(f"memory of {name}", "MiB", much=16, share=0.1): (
                process.memory_info().rss / _MIB
            ),
            Measure(f"open files of {name}", "", much=5): process.num_fds(),
            Measure(f"threads of {name}", "", much=3): process.num_threads(),
        }


async def _of_table(look: asyncpg.Connection, row: asyncpg.Record) -> Sample:
    name = row["name"]
    if name in _CHANGING:
        size = (row["heap"] + row["indexes"]) / 1024
        return {Measure(f"size of {name}", "KiB", much=256): size}
    rows = await look.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608  (a name of ours)
    if not rows:
        return {}
    return {
        Measure(f"{name}: a row", "B", much=24, share=0.1): row["heap"] / rows,
        Measure(f"{name}: a row in indexes", "B", much=24, share=0.1): row["indexes"] / rows,
        Measure(f"{name}: dead rows", "%", much=15): 100 * row["dead"] / (rows + row["dead"]),
    }
