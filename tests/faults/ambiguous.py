"""Commits of unknown outcome: Postgres commits, and the caller hears that the connection was lost.

`python -m faults.ambiguous <command...>` is `milepost <command...>` with the share of commits that
`MILEPOST_TEST_AMBIGUOUS_COMMITS` says; `stack.Service` starts that where the variable is set, and
`conftest.py` installs it in the tests' own process. Only what Milepost does by itself is struck: where a
test is among the callers, nobody would try again.
"""

import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

# Not the one that Hypothesis sets.
_dice: Final = random.SystemRandom()
VARIABLE: Final = "MILEPOST_TEST_AMBIGUOUS_COMMITS"
_TESTS: Final = str(Path(__file__).parents[1])
# The session of a rebuild is its lock, so a rebuild that loses it has ended: the remedy is to run it
# again, which is whoever called it to do.
_REBUILD: Final = "milepost-rebuild"
# Of one that only reads, nothing is in doubt.
_CHANGES: Final = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"
_WRITES: Final = re.compile(r"\b(INSERT INTO|UPDATE \w+|DELETE FROM)\b")

# Any: what is wrapped here asyncpg does not publish.
_Connection: Final[Any] = asyncpg.Connection
_execute: Final = _Connection.execute
_execute_alone: Final = _Connection._execute
_execute_many: Final = _Connection._executemany


def install() -> None:
    """From now on, the share of Milepost's commits that the variable says raises."""
    share = float(os.environ[VARIABLE])
    _strike(lambda: _dice.random() < share)


@contextmanager
def struck(decide: Callable[[], bool]) -> Iterator[None]:
    """Until the block ends, those of Milepost's commits raise of which `decide` says so."""
    before = _Connection.execute, _Connection._execute, _Connection._executemany
    _strike(decide)
    try:
        yield
    finally:
        _Connection.execute, _Connection._execute, _Connection._executemany = before


def _strike(decide: Callable[[], bool]) -> None:
    def perhaps(connection: Any) -> None:
        if _is_mileposts(connection) and not _for_a_test() and decide():
            connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("committed, and nobody knows")

    async def execute(self: Any, query: str, *arguments: Any, **options: Any) -> str:
        changes = query == "COMMIT;" and await self.fetchval(_CHANGES)
        status: str = await _execute(self, query, *arguments, **options)
        if changes:
            perhaps(self)
        return status

    def alone(run: Any) -> Any:
        async def execute_alone(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
            commits = not self.is_in_transaction() and _WRITES.search(query)
            result = await run(self, query, *arguments, **options)
            if commits:
                perhaps(self)
            return result

        return execute_alone

    _Connection.execute = execute
    _Connection._execute, _Connection._executemany = alone(_execute_alone), alone(_execute_many)


def _is_mileposts(connection: Any) -> bool:
    settings = connection._params.server_settings or {}
    name = str(settings.get("application_name", ""))
    return name.startswith("milepost-") and name != _REBUILD


def _for_a_test() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_code.co_filename
        if name.startswith(_TESTS) and name != __file__:
            return True
    return False


if __name__ == "__main__":
    from milepost.cli import main

    install()
    main()
