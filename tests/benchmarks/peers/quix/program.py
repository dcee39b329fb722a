"""Quix Streams with its PostgreSQL sink; with the argument `history` a second one for every event.

Defaults, but for a checkpoint each second and not each five: the last one would be most of a short run.
"""

import json
import os
import sys
from urllib.parse import urlsplit

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink

EVENTS = int(os.environ["PEER_EVENTS"])
STATES = {"requested": "pending", "started": "running", "progressed": "running"}
DATABASE = urlsplit(os.environ["PEER_DATABASE"])
WITH_HISTORY = sys.argv[1:] == ["history"]
written = {"peer_executions": 0, "peer_events": 0}
if not WITH_HISTORY:
    del written["peer_events"]


class Sink(PostgreSQLSink):
    """The sink as it is; counts what is committed."""

    def __init__(self, table: str, key: str) -> None:
        super().__init__(
            host=DATABASE.hostname, port=DATABASE.port, dbname=DATABASE.path[1:],
            user=DATABASE.username, password=DATABASE.password or "", table_name=table,
            primary_key_columns=key, upsert_on_primary_key=True,
        )  # fmt: skip
        self._counted = table

    def write(self, batch) -> None:
        """Write one partition's part of a checkpoint."""
        super().write(batch)
        written[self._counted] += batch.size
        if all(count == EVENTS for count in written.values()):
            print("done", flush=True)


def row(data, key, timestamp, headers):
    """The columns of an event, all of them always: the sink takes those of a batch's first row."""
    if row.first:
        row.first = False
        print("begun", flush=True)
    told = dict(headers)
    kind = told["ce_type"].decode().split(".")[2]
    return {
        "event_id": told["ce_id"].decode(),
        "execution_id": told["ce_subject"].decode(),
        "tenant": told["ce_tenantid"].decode(),
        "type": kind,
        "reported": told["ce_time"].decode(),
        "data": json.dumps(data),
    }


def execution(event):
    """The row of the execution, as this event leaves it."""
    return {
        "execution_id": event["execution_id"],
        "tenant": event["tenant"],
        "state": STATES.get(event["type"], event["type"]),
        "reported": event["reported"],
        "data": event["data"],
    }


row.first = True
app = Application(
    broker_address=os.environ["PEER_KAFKA"], consumer_group=os.environ["PEER_GROUP"],
    auto_offset_reset="earliest", auto_create_topics=False, commit_interval=1.0, loglevel="WARNING",
)  # fmt: skip
topic = app.topic(os.environ["PEER_TOPIC"], key_deserializer="str", value_deserializer="json")
rows = app.dataframe(topic).apply(row, metadata=True)
rows.apply(execution).sink(Sink("peer_executions", "execution_id"))
if WITH_HISTORY:
    rows.sink(Sink("peer_events", "event_id"))
app.run()
