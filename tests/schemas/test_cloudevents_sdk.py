"""The CloudEvents SDK is the oracle: it reads what we write, and we read what it writes."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given

from milepost.schemas.binding import Encoded, Event, decode, encode
from milepost.schemas.events import EventData
from milepost.schemas.examples import structured
from schemas.records import Record
from schemas.strategies import encodings


def _event(encoded: Encoded) -> Event:
    event = decode(Record(encoded.key, encoded.value, encoded.headers))
    assert isinstance(event, Event), event
    return event


def _attributes(data: EventData, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": given["event_id"],
        "source": given["source"],
        "type": data.type,
        "time": given["reported"],
        "subject": given["execution_id"],
        "tenantid": given["tenant"],
        "specversion": "1.0",
        "datacontenttype": "application/json",
        **({} if given["sequence"] is None else {"sequence": str(given["sequence"])}),
        **({} if given["traceparent"] is None else {"traceparent": given["traceparent"]}),
    }


@given(encodings())
def test_the_sdk_reads_what_we_write(made: tuple[EventData, dict[str, Any]]) -> None:
    data, arguments = made
    record = encode(data, **arguments)
    for key, value, headers in (record, structured(record)):
        event = kafka.from_kafka_event(kafka.KafkaMessage(dict(headers), key, value))
        expected = _attributes(data, arguments) | {"partitionkey": arguments["execution_id"]}
        assert event.get_attributes() == expected
        assert event.get_data() == json.loads(record.value)


@pytest.mark.parametrize("write", [kafka.to_binary_event, kafka.to_structured_event])
@given(made=encodings())
def test_we_read_what_the_sdk_writes(write: Any, made: tuple[EventData, dict[str, Any]]) -> None:
    data, arguments = made
    ours = encode(data, **arguments)
    theirs = CloudEvent(_attributes(data, arguments), json.loads(ours.value))
    message = write(theirs, key_mapper=lambda event: event.get_subject())
    encoded = Encoded(message.key.encode(), message.value, [*message.headers.items()])
    assert _event(encoded) == _event(ours)
