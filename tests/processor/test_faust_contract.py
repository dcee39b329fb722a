"""Every name of Faust and aiokafka that the batch hand-over uses but that they do not publish.

Their versions are pinned; when a pin moves, what fails here says what to look at.
"""

import inspect
from collections import defaultdict
from importlib.metadata import version

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.producer import sender
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from faust import App
from faust.tables.recovery import Recovery
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service

from milepost.processor import lenient, relay
from milepost.processor.ownership import TAKE_OVER
from milepost.processor.transport import BatchConsumer, BatchThread, BatchTransport


def test_the_pinned_versions_are_installed() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka") == "0.14.0"


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (base.Consumer, "getmany", ["self", "timeout"]),
        (base.Consumer, "seek_to_committed", ["self"]),
        (base.Consumer, "perform_seek", ["self"]),
        (base.Consumer, "_getmany", ["self", "active_partitions", "timeout"]),
        (base.Consumer, "_get_active_partitions", ["self"]),
        (base.Consumer, "on_buffer_full", ["self", "tp"]),
        (base.Consumer, "on_buffer_drop", ["self", "tp"]),
        (base.Consumer, "pause_partitions", ["self", "tps"]),
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (driver.Consumer, "seek_wait", ["self", "partitions"]),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (
            driver.AIOKafkaConsumerThread,
            "_fetch_records",
            ["self", "consumer", "active_partitions", "timeout", "max_records"],
        ),
        (driver.AIOKafkaConsumerThread, "on_thread_stop", ["self"]),
        (driver.AIOKafkaConsumerThread, "on_crash", ["self", "msg", "fmt", "kwargs"]),
        (driver.AIOKafkaConsumerThread, "_stopped_set", ["self"]),
        (_MemoryRecordsPy, "_cache_next", ["self", "len_offset", "log_overhead"]),
        (_DefaultRecordBatchPy, "_maybe_uncompress", ["self"]),
    ],
)
def test_the_methods_that_are_overridden_or_called(
    owner: type, name: str, parameters: list[str]
) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_a_transaction_does_not_wait_long_for_the_one_before() -> None:
    answer = sender.AddPartitionsToTxnHandler.handle_response
    assert "BACKOFF_OVERRIDE" in answer.__code__.co_names
    assert sender.BACKOFF_OVERRIDE == relay.MARKERS


def test_ours_stand_in_for_theirs() -> None:
    assert BatchTransport.Consumer is BatchConsumer
    assert issubclass(BatchConsumer, driver.Consumer)
    assert issubclass(BatchThread, driver.AIOKafkaConsumerThread)


def test_the_attributes_that_are_read() -> None:
    source = inspect.getsource(base.Consumer.__init__)
    for name in ("_buffered_partitions", "can_resume_flow"):
        assert f"self.{name} = " in source
    assert "flow_active" in vars(base.Consumer)
    assert "self._isolation_level = isolation_level" in inspect.getsource(AIOKafkaConsumer.__init__)
    assert "self._crashed = " in inspect.getsource(Service.__init__)
    assert issubclass(App, Service)


async def test_what_lies_between_batches_is_not_kept() -> None:
    """It would be an interval a batch, for ever, and each batch would go over all of them."""
    assert "await self._add_gap(tp, r_offset + 1, offset)" in inspect.getsource(
        base.Consumer._drain_messages
    )
    consumer = BatchConsumer.__new__(BatchConsumer)
    consumer._gap = defaultdict(list)
    await consumer._add_gap(TP("events", 0), 1, 9)
    assert not consumer._gap


def test_folders_are_made_by_the_method_that_makes_none_here() -> None:
    assert "self._create_directories()" in inspect.getsource(App)


def test_a_seek_follows_every_assignment_before_the_flow_resumes() -> None:
    source = inspect.getsource(Recovery._resume_streams)
    assert source.index("consumer.perform_seek()") < source.index("consumer.resume_flow()")


def test_an_assignment_of_nothing_is_not_sought_but_is_told() -> None:
    source = inspect.getsource(App._on_partitions_assigned)
    assert "self.on_partitions_assigned.send)(assigned)" in source


def test_another_rebalance_ends_a_recovery_and_the_next_assignment_begins_one() -> None:
    assert "except RebalanceAgain" in inspect.getsource(Recovery)
    # `CancelledError` would end it for good, and so would taking longer than this.
    assert "timeout=self.app.conf.broker_request_timeout" in inspect.getsource(
        Recovery._resume_streams
    )
    assert App("contract").conf.broker_request_timeout > TAKE_OVER


def test_fetches_are_parsed_by_the_names_that_are_replaced() -> None:
    source = inspect.getsource(fetcher.Fetcher._proc_fetch_request)
    assert "records = MemoryRecords(part_data[-1])" in source
    assert "PartitionRecords(" in source
    parser = inspect.getsource(lenient.PartitionRecords.__mro__[1])
    for name in ("_records", "_records_iterator", "_aborted_transactions", "_aborted_producers"):
        assert f"self.{name} = " in parser
    assert "self._records_iterator = self._unpack_records()" in parser
    # Names are the only text in a batch.
    assert inspect.getsource(_DefaultRecordBatchPy._read_msg).count(".decode(") == 1


def test_positions_are_read_where_fetches_move_them() -> None:
    assert "consumed_to(self._partition_records.next_fetch_offset)" in inspect.getsource(
        fetcher.FetchResult
    )


def test_messages_carry_a_generation() -> None:
    parameters = list(inspect.signature(ConsumerMessage.__init__).parameters)
    assert parameters[1:10] == [
        "topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value",
        "checksum",
    ]  # fmt: skip
    assert {"tp", "generation_id"} <= set(parameters)
