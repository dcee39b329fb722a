"""Hours of ordinary work in little: events at a rate, a webhook endpoint, readers, callers, a stream."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Final

import httpx2
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from faults import verdict
from faults.flat import Course, Measure, course
from faults.sampling import Sample, sample
from faults.system import System
from faults.trial import RECOVERY, Figures
from milepost.schemas.binding import Encoded
from oracle import Recomputed, recompute
from processor.history import execution
from signals import following
from webhooks.receiver import Call

EVENTS: Final = 5  # of an execution, a second apart
TENANTS: Final = 7
READERS: Final = 3
SAMPLES: Final = 120
_TICK: Final = 0.1
_TICKS: Final = 10  # a second
# Seconds that the tenants of one period work: what the oracle judges at a time.
_PERIOD: Final = 60
_WAITING: Final = "events that wait to be folded"


class Soak:
    """So many events a second for so many seconds, on a system that runs."""

    def __init__(self, system: System, rate: int, seconds: int) -> None:
        self._system = system
        self._rate = rate
        self._seconds = seconds
        self._period = min(_PERIOD, seconds // 4)
        self._events = 0
        self._sent: set[tuple[str, str]] = set()
        self._asked: set[tuple[str, str]] = set()
        self._begins: list[dict[TopicPartition, int]] = []
        self._samples: list[tuple[float, Sample]] = []
        self._streamed = 0
        self._over = False

    async def run(self) -> tuple[Figures, list[Course]]:
        """What came of it. Fails where anything is lost or twice; the courses are not judged."""
        servers, url = self._system.direct.kafka_bootstrap_servers, self._system.direct.api_url
        async with (
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as api,
            AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=5) as publisher,
        ):
            await self._begin(api, 0)
            restarts = self._restarts
            async with asyncio.TaskGroup() as group:
                others = [
                    *(group.create_task(self._read(api)) for _ in range(READERS)),
                    *(group.create_task(task) for task in (self._stream(api), self._sample())),
                ]
                asking = group.create_task(self._ask(api))
                await self._send(publisher, api)
                self._over = True
                await asking
                for task in others:
                    task.cancel()
        recovery = await self._caught_up()
        assert self._restarts == restarts, "a service ended by itself"
        assert self._streamed, "the streams told nothing"
        return await self._judge(recovery), list(self._courses())

    async def _begin(self, api: httpx2.AsyncClient, period: int) -> None:
        """New tenants, one with a webhook."""
        async with self._consumer() as consumer:
            self._begins.append(await consumer.end_offsets(self._partitions))
        hook = f"soak-{period}-0"
        answer = await api.post(
            f"/v1/tenants/{hook}/webhooks", json={"url": f"{self._system.receiver.url}/{hook}"}
        )
        assert answer.status_code == 201, answer.text

    async def _send(self, publisher: AIOKafkaProducer, api: httpx2.AsyncClient) -> None:
        """The events of an execution come a second apart, those of many beside one another."""
        began, topic = time.monotonic(), self._system.direct.topics.events
        under_way: deque[list[list[Encoded]]] = deque(maxlen=(EVENTS - 1) * _TICKS + 1)
        for tick in range(self._seconds * _TICKS):
            if tick and tick % (self._period * _TICKS) == 0:
                await self._begin(api, len(self._begins))
            under_way.appendleft(self._start(tick))
            await self._step(publisher, topic, under_way)
            await asyncio.sleep(began + tick * _TICK - time.monotonic())
        took = time.monotonic() - began
        assert took < self._seconds * 1.05, f"{self._rate} events/s for {took:.0f} s were too many"
        for _ in range(len(under_way)):
            under_way.appendleft([])
            await self._step(publisher, topic, under_way)
        await publisher.flush()

    def _start(self, tick: int) -> list[list[Encoded]]:
        """The executions that begin in this tenth of a second."""
        started = []
        for number in range(self._rate // EVENTS // _TICKS):
            tenant = f"{self._slug}-{number % TENANTS}"
            history = execution(tenant, f"key-{tick}-{number}", fails=number % 10 == 0)
            self._sent.add((tenant, history[0].key.decode()))
            started.append(history)
        return started

    async def _step(
        self, publisher: AIOKafkaProducer, topic: str, under_way: deque[list[list[Encoded]]]
    ) -> None:
        for age in range(0, len(under_way), _TICKS):
            for history in under_way[age]:
                key, value, headers = history[age // _TICKS]
                await publisher.send(topic, key=key, value=value, headers=headers)
                self._events += 1

    async def _read(self, api: httpx2.AsyncClient) -> None:
        """A summary, a page and an execution, for ever."""
        while True:
            tenant = f"/v1/tenants/{self._slug}-1"
            listed = await self._get(api, f"{tenant}/executions?page_size=50")
            if listed["items"]:
                newest = listed["items"][0]["execution_id"]
                await self._get(api, tenant)
                await self._get(api, f"/v1/executions/{newest}")
            await asyncio.sleep(_TICK)

    async def _get(self, api: httpx2.AsyncClient, path: str) -> dict[str, list[dict[str, str]]]:
        answer = await api.get(path)
        assert answer.status_code == 200, answer.text
        read: dict[str, list[dict[str, str]]] = answer.json()
        return read

    async def _ask(self, api: httpx2.AsyncClient) -> None:
        """An execution a second."""
        for number in count():
            if self._over:
                break
            tenant = f"{self._slug}-asked"
            answer = await api.post(
                f"/v1/tenants/{tenant}/executions",
                json={"operation": "provision", "provider": "ecs"},
                headers={"Idempotency-Key": f"{number}"},
            )
            assert answer.status_code == 202, answer.text
            self._asked.add((tenant, answer.json()["execution_id"]))
            self._events += 1
            await asyncio.sleep(1.0)

    async def _stream(self, api: httpx2.AsyncClient) -> None:
        """One reader of a tenant's stream, who goes on to the next one's."""
        while True:
            path = f"/v1/tenants/{self._slug}-2/stream"
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(self._period),
                    api.stream("GET", path, timeout=None) as answer,
                ):
                    assert answer.status_code == 200
                    async for line in answer.aiter_lines():
                        self._streamed += line.startswith("data:")

    async def _sample(self) -> None:
        look = await self._system.look()
        try:
            while True:
                await asyncio.sleep(self._seconds / SAMPLES)
                folded = await look.fetchval("SELECT sum(next_offset)::bigint FROM positions")
                waiting = Measure(_WAITING, "", much=self._rate)
                taken = {waiting: float(self._events - (folded or 0))}
                taken |= await sample(self._system, look)
                self._samples.append((time.monotonic(), taken))
        finally:
            look.terminate()

    def _courses(self) -> Iterator[Course]:
        for measure in self._samples[-1][1]:
            yield course(
                measure, [(at, taken[measure]) for at, taken in self._samples if measure in taken]
            )

    async def _caught_up(self) -> float:
        heard, over = self._system.outcomes, time.monotonic()
        async with asyncio.timeout(RECOVERY), following(self._system.direct) as positions:
            await positions.reach_end()
            await heard.until(
                lambda: (
                    self._sent <= heard.completed and self._sent | self._asked <= heard.commanded
                )
            )
        return time.monotonic() - over

    async def _judge(self, recovery: float) -> Figures:
        """Period by period, so that the oracle need not hold everything at once."""
        lost = repeated = calls_repeated = events = 0
        missing = self._sent | self._asked
        for period, begin in enumerate(self._begins):
            # Executions that began in a period end in the next one.
            end = self._begins[period + 2] if period + 2 < len(self._begins) else None
            records = await self._records(f"soak-{period}", begin, end)
            # Beside the loop: the services reach Kafka and Postgres through proxies in it.
            recomputed = await asyncio.to_thread(recompute, records)
            missing -= recomputed.executions.keys()
            calls = await self._delivered(recomputed, f"soak-{period}-0")
            found = await verdict.judge(self._system, recomputed, f"soak-{period}")
            lost, repeated = lost + found.lost, repeated + found.repeated
            calls_repeated += len(calls) - len({call.id for call in calls})
            events += len(records)
        assert not missing
        assert events == self._events, f"{events:,} of {self._events:,} are on the topic"
        return Figures(
            "soak", len(self._begins), events, lost, repeated, calls_repeated, round(recovery, 1)
        )

    async def _delivered(self, recomputed: Recomputed, hook: str) -> list[Call]:
        receiver, path = self._system.receiver, f"/{hook}"
        owed = {id_ for _, tenant, id_ in recomputed.completions if tenant == hook}
        await receiver.until(lambda: len({call.id for call in receiver.of(path)}) >= len(owed))
        calls = receiver.of(path)
        verdict.judge_calls(calls, owed)
        return calls

    async def _records(
        self, slug: str, begin: dict[TopicPartition, int], end: dict[TopicPartition, int] | None
    ) -> list[ConsumerRecord]:
        records: list[ConsumerRecord] = []
        async with self._consumer() as consumer:
            consumer.assign(self._partitions)
            for partition, last in (end or await consumer.end_offsets(self._partitions)).items():
                consumer.seek(partition, begin[partition])
                while await consumer.position(partition) < last:
                    read = await consumer.getmany(partition, timeout_ms=200)
                    records += [
                        one
                        for one in read.get(partition, ())
                        if dict(one.headers)["ce_tenantid"].startswith(f"{slug}-".encode())
                    ]
        return records

    @property
    def _restarts(self) -> int:
        return sum(service.restarts for service in self._system.services)

    @property
    def _slug(self) -> str:
        return f"soak-{len(self._begins) - 1}"

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._system.direct.kafka_bootstrap_servers, enable_auto_commit=False
        )

    @property
    def _partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self._system.direct.topics.events, number) for number in range(4)]
