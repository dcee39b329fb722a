"""Consuming commands: what tells a provider to start or to stop work."""

from collections.abc import Collection

from milepost.client.reader import Reader
from milepost.client.start import Start
from milepost.schemas.notifications import Command
from milepost.settings import Settings


class Commands(Reader[Command]):
    """Commands, one by one; see Reader for what is committed when.

    Without a `group` every reader sees every command from the moment its block is entered: enter it,
    then publish a request, and its command cannot be missed. With a group its members share the work.

    Args:
        settings: where Kafka is; by default read from the environment.
        group: the consumer group, or None.
        providers: only commands for these providers; None for all. One that names no provider
            passes.
        start: where to begin (a group: where it has committed nothing).
        timeout: seconds that connecting and committing may take.
        attempts: how often a body may fail before a group puts its command aside.
        grace: seconds that bodies in progress get to end when a group is rebalanced or `process` is
            stopped. The whole group waits for them.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        group: str | None = None,
        providers: Collection[str] | None = None,
        start: Start = "latest",
        timeout: float = 30,
        attempts: int = 5,
        grace: float = 10,
    ) -> None:
        settings = settings or Settings()
        super().__init__(
            settings,
            topics=[settings.topics.commands],
            group=group,
            start=start,
            timeout=timeout,
            attempts=attempts,
            grace=grace,
        )
        self._providers = providers

    def _parse(self, value: bytes) -> Command:
        return Command.model_validate_json(value, extra="ignore")

    def _wanted(self, item: Command) -> bool:
        return self._providers is None or item.provider is None or item.provider in self._providers
