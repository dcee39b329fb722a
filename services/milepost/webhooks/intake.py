"""From the completion topics into the database: what is owed to whom, stored before it is committed.

A new group begins with the oldest completions that the topics still have, and an endpoint gets those
that were recorded since it was made: one that is made before the first worker runs misses nothing,
and a group whose offsets the broker has forgotten stores again what is stored already.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from milepost.client import MilepostError, broker
from milepost.monitoring import Checks
from milepost.projections import webhooks
from milepost.projections.listening import LOST, RETRY_SECONDS
from milepost.projections.webhooks import Offer, Pool
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings
from milepost.webhooks import metrics
from milepost.webhooks.messages import offer

_CONNECT_SECONDS: Final = 5.0
# The others of the group, dead ones among them, have their session to answer in.
_JOIN_SECONDS: Final = 60.0
_POLL_MS: Final = 1_000
_MANY: Final = 500
_log: Final = structlog.get_logger(__name__)


class Intake:
    """Reads completions as a member of the group, with others like it.

    Args:
        settings: where Kafka is, the topics and the group of the processors.
        pool: where messages are stored.
        wake: called when there is something to send.
        checks: hears of the `broker`.
    """

    def __init__(
        self, settings: Settings, pool: Pool, wake: Callable[[], None], checks: Checks
    ) -> None:
        self._settings = settings
        self._servers = settings.kafka_bootstrap_servers
        self._topics = sorted(settings.topics.completions(state) for state in TERMINAL)
        self._group = f"{settings.consumer_group}.webhooks"
        self._session_ms = int(settings.session_timeout_seconds * 1_000)
        self._pool = pool
        self._wake = wake
        self._checks = checks

    async def run(self, ready: Callable[[], None]) -> None:
        """Read until cancelled; `ready` is called once it is a member of the group.

        Raises MilepostError where the broker or a topic is not there at the start; a broker that
        goes away later is waited for.
        """
        consumer = await self._join()
        ready()
        while True:
            self._checks.report("broker", None)
            try:
                await self._read(consumer)
            except KafkaError as error:
                _log.warning("cannot_read_completions", error=repr(error))
                self._checks.report("broker", "completions cannot be read")
            finally:
                await broker.stop(consumer)
            consumer = await self._rejoin()

    async def _join(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **broker.connection(self._settings),
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=self._session_ms // 3,
            # What joins the group is answered when the others have, at most a session later.
            request_timeout_ms=self._session_ms + broker.REQUEST_MS,
        )
        await broker.start(consumer, self._settings, _CONNECT_SECONDS)
        try:
            async with broker.understood(self._servers, _JOIN_SECONDS):
                await broker.require_topics(consumer._client, self._topics, self._servers)
                consumer.subscribe(self._topics)
                await consumer._subscription.wait_for_assignment()
        except BaseException:
            await broker.stop(consumer)
            raise
        return consumer

    async def _rejoin(self) -> AIOKafkaConsumer:
        while True:
            try:
                return await self._join()
            except MilepostError as error:
                _log.warning("cannot_read_completions", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MANY)
            if not batches:
                continue
            await self._store(list(offers(chain.from_iterable(batches.values()))))
            try:
                await consumer.commit()
            except (CommitFailedError, IllegalStateError):
                # Another member has these partitions now, and will store the same again.
                _log.info("rebalanced_before_a_commit", group=self._group)

    async def _store(self, offered: list[Offer]) -> None:
        """Store however long that takes: what is not stored must not be committed."""
        while offered:
            try:
                added = await webhooks.take_in(self._pool, offered)
            except LOST as error:
                _log.warning("cannot_store_messages", error=repr(error))
                await self._pool.expire_connections()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            metrics.TAKEN_IN.inc(len(offered))
            metrics.DELIVERIES.inc(added)
            _log.debug("took_in", completions=len(offered), deliveries=added)
            if added:
                self._wake()
            return


def offers(records: Iterable[Any]) -> Iterator[Offer]:
    """What the records offer; a record that is no completion is left out, and logged with its place."""
    for record in records:
        try:
            yield offer(record)
        except ValueError as error:
            _log.warning(
                "not_a_completion",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                error=str(error),
            )
