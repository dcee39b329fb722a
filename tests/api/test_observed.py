"""What goes wrong in a request is told to those who run the API."""

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from milepost.api.observed import Observed


async def test_a_mistake_of_ours_is_in_the_log_with_its_trace() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("our mistake")

    async def nothing() -> Message:
        raise AssertionError("nobody reads")

    async def no_answer(_: Message) -> None:
        raise AssertionError("nobody answers")

    scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "query_string": b""}
    with capture_logs() as logs, pytest.raises(KeyError) as raised:
        await Observed(app, {})(scope, nothing, no_answer)
    [failed] = [one for one in logs if one["event"] == "request_failed"]
    assert failed["exc_info"] is raised.value
