"""What is counted for those who watch, over the tenants that the connection sees."""

import json
from typing import NamedTuple

from milepost.projections.queries.held import Heartbeats
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement


class Counts(NamedTuple):
    """Executions that are silent, and requests of the ledger that are not published."""

    silent: int
    unpublished: int


async def counts(connection: Connection, heartbeats: Heartbeats) -> Counts:
    """How many there are now."""
    row = await connection.fetchrow(statement("counts"), json.dumps(heartbeats))
    assert row is not None
    return Counts(*row)
