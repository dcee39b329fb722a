"""Hearing that the fold has moved: one LISTEN for all who want to know."""

from collections.abc import Callable, Sequence
from typing import Final

from milepost.api.database import Database
from milepost.projections.listening import listen

# The processor notifies here once a batch, after its commit.
CHANNEL: Final = "milepost_positions"


class Listener:
    """Calls each of `wake` after any number of batches; `run` must be running."""

    def __init__(self, database: Database, wake: Sequence[Callable[[], None]]) -> None:
        self._database = database
        self._wake = wake

    async def run(self) -> None:
        """Listen, and connect again where the connection is lost, until cancelled."""
        await listen(self._database.connect, CHANNEL, self._wake_all)

    def _wake_all(self) -> None:
        for wake in self._wake:
            wake()
