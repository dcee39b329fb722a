"""`milepost demo`: the main job for real, and whether it went as it should.

`operations.py` says what is done, `performance.py` does it, `board.py` shows it meanwhile, and
`review.py` reads it back and compares.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from milepost.cli import maintenance
from milepost.cli.demo import review
from milepost.cli.demo.board import Board
from milepost.cli.demo.operations import Operation, operations
from milepost.cli.demo.performance import Performed, perform
from milepost.cli.failures import Unable
from milepost.cli.signals import until_stopped
from milepost.cli.up import started
from milepost.settings import Settings

_PARTITIONS: Final = 4
_INTERRUPTED: Final = 130
# Many times what it takes; a demo that waits for ever shows nothing.
_SECONDS: Final = 180
_TAIL: Final = (
    "to hear of each end in another terminal: "
    "MILEPOST_KAFKA_BOOTSTRAP_SERVERS={kafka} milepost completions tail --from-beginning"
)
# What does not say where another stack is.
_KEPT: Final = {"MILEPOST_CACHE", "MILEPOST_LOG_LEVEL", "MILEPOST_LOG_FORMAT"}


def demo() -> int:
    """Run the main job for real on a throw-away stack, and check how it ended.

    Two tenants, six executions of real commands: a Python virtual environment is created, one
    command fails, one is cancelled while it runs, two run at once for one tenant, and one is called
    three times with the same key and runs once. At the end everything is read back through the API
    and the completion topics, and the log is folded once more and compared. The exit status is 0 only
    if each execution ended as it should and the comparison is equal.

    Example: `milepost demo`
    """
    for name in os.environ.keys() - _KEPT:
        if name.startswith("MILEPOST_"):
            del os.environ[name]
    board = Board()
    status = asyncio.run(until_stopped(_demo(board), board.say))
    return _INTERRUPTED if status is None else status


async def _demo(board: Board) -> int:
    with tempfile.TemporaryDirectory(prefix="milepost-demo-") as name:
        planned = operations(Path(name))
        async with started(None, _PARTITIONS, None, board.say) as (endpoints, _):
            settings = Settings(
                api_url=endpoints.api,
                kafka_bootstrap_servers=endpoints.kafka,
                database_url=SecretStr(endpoints.database),
                token=SecretStr(endpoints.token) if endpoints.token else None,
            )
            board.say(_TAIL.format(kafka=endpoints.kafka))
            performed = await _in_time(planned, settings, board)
            board.say("reading back through the API and the completion topics")
            found = await review.read_back(planned, performed, settings)
            differences = review.differences(planned, performed, found)
            review.show(planned, performed, found, differences)
            equal = await _folded_again(endpoints.database, board)
            board.say("stopping the stack")
    return 0 if equal and not differences else 1


async def _folded_again(database: str, board: Board) -> bool:
    """Whether the log, folded once more, says what the projections say."""
    from milepost.projections.rebuild import verify

    board.say("folding the log once more: milepost projections rebuild --verify")
    result = await verify(database)
    print()
    maintenance.show(result, "text")
    return result.equal


async def _in_time(planned: list[Operation], settings: Settings, board: Board) -> Performed:
    try:
        with board.showing(planned):
            async with asyncio.timeout(_SECONDS):
                return await perform(planned, settings, board)
    except TimeoutError:
        raise Unable(f"not over after {_SECONDS} s: {board.states(planned)}.") from None
