"""Nothing is lost of what arrives at the moment at which a rebalance ends."""

from conftest import StartService
from milepost.settings import Settings
from processor.history import send
from processor.oracle import Load, nothing_lost_nothing_twice
from signals import following

ROUNDS = 4


async def test_records_arrive_just_as_partitions_move(
    settings: Settings, service: StartService
) -> None:
    """The fetch that waited for them all the time belongs to neither owner."""
    load = Load(40 * ROUNDS)
    records = load.records
    share = load.count // ROUNDS
    async with following(settings) as positions:
        worker = await service("processor")
        for number in range(ROUNDS):
            other = await service("processor")
            await send(settings, records[number * share : (number + 1) * share])
            assert await positions.reach_end() == (number + 1) * share
            await worker.kill()
            worker = other
    await nothing_lost_nothing_twice(settings, load)
