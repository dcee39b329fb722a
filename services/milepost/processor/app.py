"""The processor: wires the Faust app, the store and the partitions together and runs them."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

import faust
import orjson
import structlog
from asyncpg import InterfaceError, PostgresError
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from mode.supervisors import CrashingSupervisor

from milepost import tracing
from milepost.client import broker, dead_connections
from milepost.monitoring import Checks, listening
from milepost.processor import metrics, months, reader, topics, unattended
from milepost.processor.ownership import Ownership
from milepost.processor.report import Reporter
from milepost.processor.transport import FAUST, BatchConsumer, BatchTransport, PassOn
from milepost.projections import store
from milepost.projections.generation import check_fold
from milepost.projections.migrate import make_partitions
from milepost.settings import Settings

# Seconds between two looks at the partitions of the log, and after one that failed.
DAY: Final = 86_400.0
HOUR: Final = 3_600.0
# Seconds in which a member must join again: giving up its partitions takes half of it. Connections
# that nothing comes from any more are given up little later; Faust's own 60 and 90 are that much lag.
REBALANCE: Final = 10.0
# Seconds that leaving the database may take: what is still in use then has nobody who waits for it.
CLOSE: Final = 1.0

_log: Final = structlog.get_logger(__name__)


async def serve(settings: Settings, ready: Callable[[str], Any] = print) -> None:
    """Fold and relay until SIGTERM or SIGINT; tells `ready` one JSON line when it has its partitions.

    Those may be none: with more workers than partitions, the others wait for one of them to go.
    Raises TopicsDiffer when the topics are not as declared, FoldOutdated when a newer version made the
    projections, KafkaError or asyncpg's errors when the broker or the database is away, and whatever
    ended the worker later.
    """
    # Batches are many small objects that live briefly: fewer, larger collections.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    dead_connections.install()
    tracing.configure("milepost-processor")
    metrics.count_retries()
    checks = Checks("group", "connections", "partitions")
    await topics.verify(settings)
    async with (
        listening(settings, metrics.REGISTRY, checks),
        _opened(settings, checks) as (app, ownership, reporter),
    ):
        ownership.on_assigned = _announce_once(ready, checks)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(unattended.report)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await app.start()
        try:
            await _first(stop.wait(), app.wait_crashed(), reporter.run(app.consumer.assignment))
        finally:
            await ownership.revoked()
            await app.stop()
        if app.crash_reason is not None:
            raise app.crash_reason
    _log.info("stopped")


class Processor(faust.App):
    """The Faust app."""

    logger = FAUST

    def _create_directories(self) -> None:
        """Make no folders where it is started: Faust keeps tables in them, of which we have none."""

    async def wait_crashed(self) -> None:
        """Return when the app has crashed."""
        await self._crashed.wait()


@asynccontextmanager
async def _opened(
    settings: Settings, checks: Checks
) -> AsyncIterator[tuple[Processor, Ownership, Reporter]]:
    async with (
        _connected(settings.dsn) as pool,
        topics.connected(settings) as admin,
        reader.connected(settings) as log,
        _maintained(pool),
    ):
        app = _app(settings)
        projections = store.Store(pool, settings.topics)
        ownership = Ownership(settings, projections, admin, log, app.crash)
        transport = cast(BatchTransport, app.transport)
        transport.positions = ownership
        app.on_partitions_revoked.connect(ownership.revoked)
        app.on_partitions_assigned.connect(ownership.left_out)
        ownership.consumer = cast(BatchConsumer, app.consumer)
        _add_agent(app, settings, ownership)
        yield app, ownership, Reporter(settings.topics.events, ownership, log, projections, checks)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Any]:
    pool = await store.connect(dsn, size=8)
    try:
        yield pool
    finally:
        with suppress(TimeoutError):
            # When time is up, asyncpg terminates what is still in use.
            await asyncio.wait_for(pool.close(), CLOSE)


@asynccontextmanager
async def _maintained(pool: Any) -> AsyncIterator[None]:
    """A database made by this version's fold or an older one; its log has partitions ahead."""
    await check_fold(pool)
    tasks = [asyncio.create_task(task) for task in (_maintain(pool), months.watch(pool))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _maintain(pool: Any) -> None:
    """Each day, and sooner where that fails: the partitions of the coming months."""
    while True:
        pause = DAY
        try:
            async with pool.acquire() as connection:
                partitions = await make_partitions(connection, datetime.now(UTC))
            _log.debug("partitions", made=[one.name for one in partitions if one.made])
        except (PostgresError, InterfaceError, OSError, TimeoutError) as error:
            # Records of a month without a partition go to the default one: there is time.
            remedy = "`milepost db maintain` does it without a time limit"
            _log.warning("partitions_failed", error=repr(error), remedy=remedy)
            pause = HOUR
        await asyncio.sleep(pause)


def _app(settings: Settings) -> Processor:
    rebalance = max(REBALANCE, settings.session_timeout_seconds)
    servers = [server.strip() for server in settings.kafka_bootstrap_servers.split(",")]
    app = Processor(
        settings.consumer_group,
        broker=[f"kafka://{server}" for server in servers],
        broker_credentials=_credentials(settings),
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.session_timeout_seconds / 4,
        broker_rebalance_timeout=rebalance,
        # What joins the group is answered when the rebalance is over.
        broker_request_timeout=rebalance + 5,
        broker_max_poll_records=settings.batch_records,
        consumer_max_fetch_size=4 * 1_048_576,
        # An offset that the broker does not have is an error; a guess would lose or repeat records.
        consumer_auto_offset_reset="none",
        agent_supervisor=CrashingSupervisor,
    )
    app.transport = BatchTransport([*app.conf.broker], app)
    return app


def _credentials(settings: Settings) -> Credentials | None:
    """What Faust makes the same arguments of for its clients as `broker.connection` has for ours."""
    arguments = broker.connection(settings)
    if "sasl_mechanism" in arguments:
        return SASLCredentials(
            mechanism=arguments["sasl_mechanism"],
            username=arguments["sasl_plain_username"],
            password=arguments["sasl_plain_password"],
            ssl_context=arguments["ssl_context"],
        )
    return SSLCredentials(arguments["ssl_context"]) if arguments["ssl_context"] else None


def _add_agent(app: Processor, settings: Settings, ownership: Ownership) -> None:
    topic = app.topic(settings.topics.events, schema=PassOn())

    @app.agent(topic, name="fold")
    async def fold(stream: Any) -> None:
        # No acknowledgements: offsets live in Postgres only.
        async for fetched in stream.noack():
            ownership.put(fetched)


def _announce_once(ready: Callable[[str], Any], checks: Checks) -> Callable[[list[int]], None]:
    announced = False

    def announce(partitions: list[int]) -> None:
        nonlocal announced
        if not announced:
            announced = True
            checks.report("group", None)
            ready(orjson.dumps({"processor": "ready", "partitions": sorted(partitions)}).decode())

    return announce


async def _first(*waits: Any) -> None:
    """Wait for the first to end; raises what it raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
