"""The published example notifications are what the fold sends out of the example events."""

from datetime import datetime

import orjson

from milepost.projections.batch import decode_all, fold
from milepost.schemas.example_notifications import notifications, story
from milepost.schemas.examples import Example
from milepost.schemas.topics import Topics
from projections.runs import Record


def _recorded(example: Example, offset: int) -> Record:
    key, value, headers = example.record
    record = Record(Topics().events, 0, offset, 0, key, value, headers)
    return record.recorded_at(datetime.fromisoformat(dict(headers)["ce_time"].decode()))


def test_the_example_events_make_the_example_notifications() -> None:
    records = [_recorded(example, offset) for offset, example in enumerate(story())]
    sent = fold(decode_all(records), {}, Topics()).outgoing
    told = [example.record for example in notifications()]
    assert [(one.key, one.headers) for one in sent] == [(one.key, one.headers) for one in told]
    documents = [example.document() for example in notifications()]
    assert [orjson.loads(one.value or b"") for one in sent] == [one["value"] for one in documents]
