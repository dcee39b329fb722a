"""Hypothesis strategies: anything that the contract accepts."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from milepost.schemas.events import (
    CancellationRequested,
    Cancelled,
    EventData,
    Failed,
    Progressed,
    Requested,
    Started,
    Succeeded,
)
from milepost.schemas.values import (
    Category,
    Expectations,
    Failure,
    Level,
    Links,
    LogLine,
    Origin,
    Progress,
    Resource,
)


def text(maximum: int = 40, minimum: int = 0) -> st.SearchStrategy[str]:
    """Text without NUL and lone surrogates."""
    anything = st.characters(codec="utf-8", exclude_characters="\0")
    return st.text(anything, min_size=minimum, max_size=maximum)


def json_values(integers: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    """Any JSON value with these integers."""
    floats = st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.one_of(st.none(), st.booleans(), integers, text(), floats),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text(12), inner, max_size=4),
        max_leaves=10,
    )


bigints = st.integers(-(2**63), 2**63 - 1)
safe_integers = st.integers(-(2**53) + 1, 2**53 - 1)
json_objects = st.dictionaries(text(12), json_values(bigints), max_size=4)
parameters = st.dictionaries(text(12), json_values(safe_integers), max_size=4)

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_LETTERS = _LOWER + _LOWER.upper() + _DIGITS


def _named(first: str, rest: str, maximum: int = 20) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(first), st.text(rest, max_size=maximum)).map("".join)


def _hexadecimal(length: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=length // 2, max_size=length // 2).map(bytes.hex)


tenants = _named(_LETTERS, _LETTERS + "._-", 127)
words = _named(_LOWER, _LOWER + _DIGITS + "_.-", 63)
regions = _named(_LETTERS, _LETTERS + "._-", 63)
codes = _named(_LETTERS, _LETTERS + "_.:/-", 127)
labels = st.dictionaries(_named(_LETTERS, _LETTERS + "_./-", 62), text(), max_size=3)
attributes = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
)
uuids = st.uuids().map(str)
offsets = st.just(UTC) | st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
# A day from either end, so that no offset leads out of the contract's range.
times = st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30), timezones=offsets)
sequences = st.none() | st.integers(0, 2**63 - 1)
traceparents = st.none() | st.tuples(*map(_hexadecimal, (2, 32, 16, 2))).map("-".join)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What the strategy gives, or None."""
    return st.none() | strategy


resources = st.builds(
    Resource,
    kind=words,
    id=text(60, 1),
    provider=maybe(words),
    region=maybe(regions),
    status=maybe(words),
    attributes=maybe(json_objects),
)
many_resources = maybe(st.lists(resources, max_size=3).map(tuple))
log_lines = st.builds(
    LogLine,
    message=text(),
    level=st.sampled_from(Level),
    stream=maybe(words),
    occurred_at=maybe(times),
)
seconds = st.floats(0, 31_536_000, exclude_min=True)
counts = st.integers(0, 2**63 - 1)
links = st.builds(Links, retry_of=maybe(uuids), parent=maybe(uuids), workflow_id=maybe(text(20, 1)))
failures = st.builds(
    Failure,
    code=codes,
    message=text(),
    category=st.sampled_from(Category),
    origin=st.sampled_from(Origin),
    provider_code=maybe(text(20, 1)),
    details=maybe(json_objects),
    last_lines=maybe(st.lists(text(), max_size=3).map(tuple)),
)

requests = st.builds(
    Requested,
    occurred_at=times,
    operation=words,
    provider=maybe(words),
    parameters=maybe(parameters),
    idempotency_key=maybe(text(40, 1)),
    labels=maybe(labels),
    links=maybe(links),
    expectations=maybe(
        st.builds(Expectations, heartbeat_seconds=maybe(seconds), duration_seconds=maybe(seconds))
    ),
    requested_by=maybe(text(20, 1)),
)
secret_requests = st.builds(
    Requested,
    occurred_at=times,
    operation=words,
    parameters_digest=_hexadecimal(64),
    idempotency_key=text(40, 1),
)
progress = st.builds(
    Progress,
    percent=maybe(st.floats(0, 100)),
    message=maybe(text()),
    step=maybe(counts),
    steps=maybe(counts),
)
reports: st.SearchStrategy[EventData] = st.one_of(
    st.builds(Started, occurred_at=times, resources=many_resources, details=maybe(json_objects)),
    st.builds(
        Progressed,
        occurred_at=times,
        progress=maybe(progress),
        resources=many_resources,
        log_lines=maybe(st.lists(log_lines, max_size=3).map(tuple)),
        log_link=maybe(text(40, 1)),
    ),
    st.builds(Succeeded, occurred_at=times, resources=many_resources, outputs=maybe(json_objects)),
    st.builds(Failed, occurred_at=times, failure=failures, resources=many_resources),
    st.builds(
        Cancelled,
        occurred_at=times,
        reason=maybe(text()),
        requested_by=maybe(text(20, 1)),
        resources=many_resources,
    ),
    st.builds(
        CancellationRequested,
        occurred_at=times,
        reason=maybe(text()),
        requested_by=maybe(text(20, 1)),
    ),
)
event_data: st.SearchStrategy[EventData] = st.one_of(requests, secret_requests, reports)


@st.composite
def encodings(draw: st.DrawFn) -> tuple[EventData, dict[str, Any]]:
    """Event data, and the other arguments of `encode`."""
    data, tenant = draw(event_data), draw(tenants)
    subject = data.execution_id(tenant) if isinstance(data, Requested) else draw(uuids)
    return data, {
        "tenant": tenant,
        "execution_id": subject,
        "source": draw(attributes),
        "reported": draw(times),
        "event_id": draw(attributes),
        "sequence": draw(sequences),
        "traceparent": draw(traceparents),
    }
