"""Stock Faust as its guide shows it: an agent that takes events in batches, a transaction for each batch."""

import json
import os
import sys

import asyncpg
import faust

TOPIC, EVENTS = os.environ["PEER_TOPIC"], int(os.environ["PEER_EVENTS"])
STATES = {"requested": "pending", "started": "running", "progressed": "running"}
TABLES = """
CREATE TABLE peer_executions (
    execution_id uuid PRIMARY KEY, tenant text NOT NULL, state text NOT NULL, reported text NOT NULL,
    data json NOT NULL
);
CREATE TABLE peer_events (
    event_id text PRIMARY KEY, execution_id uuid NOT NULL, tenant text NOT NULL, type text NOT NULL,
    reported text NOT NULL, data json NOT NULL
)
"""
HISTORY = "INSERT INTO peer_events VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
UPSERT = """
INSERT INTO peer_executions AS held VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (execution_id) DO UPDATE
SET state = excluded.state, reported = excluded.reported, data = excluded.data
WHERE held.state NOT IN ('succeeded', 'failed', 'cancelled')
"""

app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_KAFKA']}",
    store="memory://",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(TOPIC, key_serializer="raw", value_serializer="raw")


@app.agent(topic)
async def fold(stream) -> None:
    """Write what came, and say when all has come."""
    pool = await asyncpg.create_pool(os.environ["PEER_DATABASE"], min_size=1, max_size=1)
    await pool.execute(TABLES)
    done = 0
    async for batch in stream.take_events(1_000, within=0.2):
        if not done:
            os.write(1, b"begun\n")  # Faust logs what is printed
        history, executions = [], {}
        for event in batch:
            headers = dict(event.message.headers)
            execution, tenant = headers["ce_subject"].decode(), headers["ce_tenantid"].decode()
            type_, reported = headers["ce_type"].decode(), headers["ce_time"].decode()
            data = json.dumps(json.loads(event.value))
            kind = type_.split(".")[2]
            state = STATES.get(kind, kind)
            history.append((headers["ce_id"].decode(), execution, tenant, type_, reported, data))
            executions[execution] = (execution, tenant, state, reported, data)
        async with pool.acquire() as connection, connection.transaction():
            await connection.executemany(HISTORY, history)
            await connection.executemany(UPSERT, executions.values())
        done += len(batch)
        if done == EVENTS:
            os.write(1, b"done\n")


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel=warn"]
    app.main()
