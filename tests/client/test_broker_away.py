"""A broker that goes away under publishers and readers, comes back, and goes for good."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from milepost.client import BrokerUnavailable, Commands, Publisher, Subscriber, broker
from milepost.embedded import EmbeddedKafka
from milepost.processor.topics import apply
from milepost.settings import Settings


async def test_calls_fail_in_time_or_go_through_and_blocks_end_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_CLOSE_SECONDS", 0.5)
    before = asyncio.all_tasks()
    async with EmbeddedKafka(tmp_path / "kafka") as kafka:
        settings = Settings(kafka_bootstrap_servers=kafka.bootstrap_servers)
        await apply(settings, partitions=1)
        async with (
            Publisher(settings, timeout=1) as impatient,
            Publisher(settings, timeout=30) as patient,
            Subscriber(settings, group="g") as completions,
            Commands(settings) as commands,
        ):
            reading = [
                asyncio.ensure_future(anext(completions)),
                asyncio.ensure_future(anext(commands)),
            ]
            await kafka.stop()
            run = impatient.execution("acme", str(uuid4()))
            with pytest.raises(BrokerUnavailable, match=r"within 1 s"):
                await run.started()
            waiting = asyncio.create_task(patient.execution("acme", str(uuid4())).started())
            await kafka.start()
            assert (await waiting).offset >= 0
            # What was given up may have arrived meanwhile; new calls go through again.
            await run.succeeded()
            await kafka.stop()
            with pytest.raises(BrokerUnavailable):
                await run.started()
            assert not any(one.done() for one in reading)
            for one in reading:
                one.cancel()
            await asyncio.wait(reading)
    assert asyncio.all_tasks() - before <= {waiting}
