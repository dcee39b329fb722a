"""Plain aiokafka around our fold: `getmany`, our transaction for each partition's batch, a plain producer.

What it lacks is what Milepost adds: a partition that changes hands, completions exactly once.
"""

import asyncio
import gc
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from milepost.projections.batch import decode_all
from milepost.projections.store import Batch, Store, connect
from milepost.settings import Settings

EVENTS = int(os.environ["PEER_EVENTS"])


async def main() -> None:
    """Fold everything; one batch of each partition at a time, those of all partitions at once."""
    gc.freeze()
    gc.set_threshold(1_000_000, 50, 100)
    settings = Settings()
    topic = settings.topics.events
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.consumer_group, auto_offset_reset="earliest", enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1_048_576,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, enable_idempotence=True, linger_ms=5,
        max_batch_size=262_144, max_request_size=2 * 1_048_576,
    )  # fmt: skip
    pool = await connect(settings.dsn, size=8)
    store = Store(pool, settings.topics)
    async with consumer, producer:
        epochs, done = {}, 0

        async def fold(partition, fetched) -> None:
            if partition not in epochs:
                position = await store.acquire(*partition, fetched[0].offset)
                epochs[partition] = position.epoch
            for start in range(0, len(fetched), settings.batch_records):
                records = fetched[start : start + settings.batch_records]
                begin, end = records[0].offset, records[-1].offset + 1
                batch = Batch(*partition, begin, end, decode_all(records))
                written = await store.write(batch, epochs[partition], None)
                sent = [
                    await producer.send(one.topic, one.value, one.key, headers=one.headers)
                    for one in written.outgoing
                ]
                await asyncio.gather(*sent)

        while done < EVENTS:
            fetched = await consumer.getmany(timeout_ms=500, max_records=settings.batch_records * 4)
            if fetched and not done:
                print("begun", flush=True)
            await asyncio.gather(*(fold(*part) for part in fetched.items()))
            done += sum(map(len, fetched.values()))
        print("done", flush=True)
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main())
