"""Hears of each execution's end: `python completions.py GROUP [TENANT]`, until Ctrl-C.

Needs `confluent-kafka`, and nothing of Milepost's.
"""

import json
import os
import signal
import sys
from collections import OrderedDict
from typing import Any

from confluent_kafka import Consumer, KafkaException

PREFIX = os.environ.get("MILEPOST_TOPIC_PREFIX", "milepost.executions.")
TOPICS = [f"{PREFIX}{state}.v1" for state in ("succeeded", "failed", "cancelled")]

# Enough while this process lives. Where the work is written to a database, write the ce_id under a
# unique key in the same transaction instead: that outlives a crash.
seen: OrderedDict[str, None] = OrderedDict()


def handle(id_: str, completion: dict[str, Any]) -> None:
    """The work: here it prints a line."""
    if id_ in seen:
        return
    print(completion["tenant"], completion["execution_id"], completion["state"], flush=True)
    seen[id_] = None
    if len(seen) > 10_000:
        seen.popitem(last=False)


def main(group: str, tenant: str | None = None) -> None:
    """Read completions of all tenants or one, committing each after its work."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get(
                "MILEPOST_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"
            ),
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # where a new group begins
        }
    )
    consumer.subscribe(TOPICS)
    try:
        while True:
            record = consumer.poll(1)
            if record is None:
                continue
            if record.error():
                raise KafkaException(record.error())
            headers = dict(record.headers())
            # Told by a header, so what is not wanted need not be parsed.
            if tenant is None or headers["ce_tenantid"].decode() == tenant:
                handle(headers["ce_id"].decode(), json.loads(record.value()))
            # After the work: what a crash interrupts comes again.
            consumer.commit(message=record, asynchronous=False)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
