"""The running API keeps to its OpenAPI document, whatever it is sent: schemathesis, from the document alone.

MILEPOST_TEST_EXAMPLES says how many requests are made up for each operation and how many sequences of
them; with 20 or more, every bound in the document is tried from both sides too (some minutes).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from api.callers import Guarded, guarded_api
from milepost.schemas.events import Started, Succeeded
from milepost.settings import Settings

EXAMPLES = int(os.environ.get("MILEPOST_TEST_EXAMPLES", "2"))
CHECKS = {
    # Page tokens, idempotency keys and ids of events must fit what a schema cannot say.
    "positive_data_acceptance": {"enabled": False},
    # In a bounded time: the API under test holds requests for as long as it is asked to.
    "max_response_time": 5,
}


@pytest.fixture(scope="module")
async def guarded(settings: Settings) -> AsyncIterator[Guarded]:
    """An API that requires access, with something in it."""
    async with guarded_api(settings) as guarded:
        for tenant in ("acme", "globex"):
            now = guarded.clock.now()
            await guarded.api.execution(tenant, Started(occurred_at=now))
            await guarded.api.execution(tenant, Succeeded(occurred_at=now))
        yield guarded


def broken(url: str, token: str) -> Iterator[str]:
    """What schemathesis finds, a paragraph each."""
    config = SchemathesisConfig.from_dict(
        {
            "headers": {"Authorization": f"Bearer {token}"},
            "parameters": {"query.wait": "10ms"},
            "generation": {"max-examples": EXAMPLES, "database": "none"},
            "checks": CHECKS,
            "phases": {"coverage": {"enabled": EXAMPLES >= 20}},
        }
    )
    # A stream has no end; tests/api/test_streams.py has its own.
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config).exclude(
        path_regex="/stream$"
    )
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            yield f"{event.label}: {event.value!r}"
        elif isinstance(event, events.FatalError):
            yield repr(event.exception)
        elif isinstance(event, events.ScenarioFinished):
            yield from _failures(event)


def _failures(event: events.ScenarioFinished) -> Iterator[str]:
    for case, checks in event.recorder.checks.items():
        for check in checks:
            if (found := check.failure_info) is not None:
                answer = event.recorder.interactions[case].response
                status = answer.status_code if answer else None
                yield f"{check.name} ({status}): {found.failure.message}\n{found.code_sample}"


async def test_it_keeps_to_its_document(guarded: Guarded) -> None:
    token = await guarded.key("*:admin")
    found = await asyncio.to_thread(lambda: list(broken(guarded.api.url, token)))
    assert not found, "\n\n".join(dict.fromkeys(found))
