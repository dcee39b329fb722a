"""One kind of fault, some times over, under load; and what came of it."""

import asyncio
import time
from contextlib import suppress
from typing import Final, NamedTuple

import httpx2
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from faults import verdict
from faults.kinds import Fault
from faults.system import System
from milepost.schemas.binding import Encoded
from oracle import Recomputed, recompute
from processor.history import execution
from signals import following
from webhooks.receiver import Call

# Seconds from the end of a fault until nothing waits any more.
RECOVERY: Final = 30.0
TENANTS: Final = 7
ASKED: Final = 10  # executions asked of the API in each cycle
_AT_ONCE: Final = 50  # events between two looks at the clock
PROGRESS: Final = 5  # a fault comes when a fifth of what was sent before it is folded


class Figures(NamedTuple):
    """What one fault came to. `calls_repeated`: webhook calls under an id that had been called."""

    fault: str
    cycles: int
    events: int
    lost: int
    repeated: int
    calls_repeated: int
    recovery_seconds: float


class Trial:
    """One kind of fault on a system that runs; the tenants are its own.

    `rate`: events a second, evenly; without it half of them before the fault, as fast as can be.
    """

    def __init__(self, system: System, fault: Fault, rate: int | None = None) -> None:
        self._system = system
        self._fault = fault
        self._rate = rate
        self._hook = f"{fault.slug}-0"  # the tenant with a webhook
        self._sent: set[tuple[str, str]] = set()
        self._asked: set[tuple[str, str]] = set()
        self._recovery = 0.0

    async def run(self, cycles: int, executions: int) -> Figures:
        """So many cycles with so many executions each. Fails where anything is lost or twice."""
        begin = await self._ends()
        servers, url = self._system.direct.kafka_bootstrap_servers, self._system.direct.api_url
        async with (
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=3) as api,
            AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=5) as publisher,
        ):
            await self._listen(api)
            for number in range(cycles):
                await self._cycle(publisher, api, number, executions)
        recomputed = recompute(records := await self._records(begin))
        assert self._sent | self._asked <= recomputed.executions.keys()
        calls = await self._delivered(recomputed)
        found = await verdict.judge(self._system, recomputed, self._fault.slug)
        return Figures(
            self._fault.name,
            cycles,
            len(records),
            found.lost,
            found.repeated,
            len(calls) - len({call.id for call in calls}),
            round(self._recovery, 1),
        )

    async def _listen(self, api: httpx2.AsyncClient) -> None:
        url = f"{self._system.receiver.url}/{self._hook}"
        answer = await api.post(f"/v1/tenants/{self._hook}/webhooks", json={"url": url})
        assert answer.status_code == 201, answer.text

    async def _cycle(
        self, publisher: AIOKafkaProducer, api: httpx2.AsyncClient, number: int, executions: int
    ) -> None:
        backlog = 0 if self._rate else executions // 2
        before, during = self._load(backlog), self._load(executions - backlog)
        async with following(self._system.direct) as positions:
            folded = await positions.reach_end()
            await self._send(publisher, before)
            await positions.reach(folded + len(before) // PROGRESS)
        sending = asyncio.gather(
            self._send(publisher, during),
            *(self._ask(api, f"{number}-{one}") for one in range(ASKED)),
        )
        async with self._fault.strike(self._system):
            pass
        over = time.monotonic()
        async with asyncio.timeout(RECOVERY):
            await sending
            await self._caught_up()
        self._recovery = max(self._recovery, time.monotonic() - over)
        async with asyncio.timeout(RECOVERY):
            for service in self._system.services:
                await service.up()

    def _load(self, executions: int) -> list[Encoded]:
        records: list[Encoded] = []
        for number in range(len(self._sent), len(self._sent) + executions):
            tenant = f"{self._fault.slug}-{number % TENANTS}"
            history = execution(tenant, f"key-{number}", fails=number % 10 == 0)
            self._sent.add((tenant, history[0].key.decode()))
            records += history
        return records

    async def _send(self, publisher: AIOKafkaProducer, records: list[Encoded]) -> None:
        """Returns when the broker has them all, however long it is away."""
        topic = self._system.direct.topics.events
        began = time.monotonic()
        for number, (key, value, headers) in enumerate(records):
            if self._rate and number % _AT_ONCE == 0:
                await asyncio.sleep(began + number / self._rate - time.monotonic())
            await publisher.send(topic, key=key, value=value, headers=headers)
        await publisher.flush()

    async def _ask(self, api: httpx2.AsyncClient, key: str) -> None:
        """As a client does: again under the same key until it is accepted."""
        tenant = f"{self._fault.slug}-asked"
        while True:
            with suppress(httpx2.TransportError):
                answer = await api.post(
                    f"/v1/tenants/{tenant}/executions",
                    json={"operation": "provision", "provider": "ecs"},
                    headers={"Idempotency-Key": key},
                )
                if answer.status_code in (200, 202):
                    self._asked.add((tenant, answer.json()["execution_id"]))
                    return
                assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)

    async def _caught_up(self) -> None:
        """All folded, and all that follows from it heard."""
        heard = self._system.outcomes
        async with following(self._system.direct) as positions:
            await positions.reach_end()
        await heard.until(
            lambda: self._sent <= heard.completed and self._sent | self._asked <= heard.commanded
        )

    async def _delivered(self, recomputed: Recomputed) -> list[Call]:
        """The calls of the webhook, once there has been one for each completion of its tenant."""
        path = f"/{self._hook}"
        owed = {id_ for _, tenant, id_ in recomputed.completions if tenant == self._hook}
        await verdict.pass_leases(self._system, self._hook)
        receiver = self._system.receiver
        await receiver.until(lambda: len({call.id for call in receiver.of(path)}) >= len(owed))
        calls = receiver.of(path)
        verdict.judge_calls(calls, owed)
        return calls

    async def _ends(self) -> dict[TopicPartition, int]:
        async with self._consumer() as consumer:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
            return ends

    async def _records(self, begin: dict[TopicPartition, int]) -> list[ConsumerRecord]:
        """What the events topic has of our tenants from these offsets on."""
        async with self._consumer() as consumer:
            consumer.assign(self._partitions)
            for partition, offset in begin.items():
                consumer.seek(partition, offset)
            records: list[ConsumerRecord] = []
            for partition, end in (await consumer.end_offsets(self._partitions)).items():
                while await consumer.position(partition) < end:
                    read = await consumer.getmany(partition, timeout_ms=200)
                    records += [one for one in read.get(partition, ()) if self._is_ours(one)]
            return records

    def _is_ours(self, record: ConsumerRecord) -> bool:
        tenant: bytes = dict(record.headers)["ce_tenantid"]
        return tenant.startswith(f"{self._fault.slug}-".encode())

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._system.direct.kafka_bootstrap_servers, enable_auto_commit=False
        )

    @property
    def _partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self._system.direct.topics.events, number) for number in range(4)]
