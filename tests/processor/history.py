"""Histories to fold: whole executions as records ready to send."""

from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from milepost.schemas import events
from milepost.schemas.binding import Encoded, encode
from milepost.schemas.identifiers import execution_id
from milepost.schemas.values import Failure, Progress, Resource
from milepost.settings import Settings

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def execution(tenant: str, key: str, *, fails: bool = False) -> list[Encoded]:
    """The five records of one execution that succeeds or fails."""
    resource = Resource("ecs.task", f"arn:aws:ecs:eu-west-1:1:task/{tenant}/{key}")
    data = [
        events.Requested(
            occurred_at=BEGIN, operation="provision", provider="ecs", idempotency_key=key,
            parameters={"cpu": 2}, labels={"team": "storage"},
        ),
        events.Started(occurred_at=BEGIN + timedelta(seconds=1), resources=(resource,)),
        *(
            events.Progressed(
                occurred_at=BEGIN + timedelta(seconds=second),
                progress=Progress(percent=20 * second, message=f"step {second}"),
            )
            for second in (2, 3)
        ),
        events.Failed(
            occurred_at=BEGIN + timedelta(seconds=4),
            failure=Failure(code="quota", message="no more tasks"), resources=(resource,),
        )
        if fails
        else events.Succeeded(
            occurred_at=BEGIN + timedelta(seconds=4), resources=(resource,), outputs={"url": "x"}
        ),
    ]  # fmt: skip
    identity = execution_id(tenant, "provision", key=key)
    return [
        encode(
            item, tenant=tenant, execution_id=identity, source="/providers/ecs",
            reported=item.occurred_at,
        )
        for item in data
    ]  # fmt: skip


async def send(settings: Settings, records: list[Encoded], *, partition: int | None = None) -> None:
    """Send records in this order and wait for the broker's acknowledgement of all."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", linger_ms=5
    )
    await producer.start()
    try:
        for key, value, headers in records:
            await producer.send(
                settings.topics.events, key=key, value=value, headers=headers, partition=partition
            )
        await producer.flush()
    finally:
        await producer.stop()
