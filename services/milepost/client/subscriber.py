"""Subscribing to completions: executions that reached a terminal state."""

from collections.abc import Collection

from milepost.client.reader import Reader, Start
from milepost.schemas.notifications import Completion
from milepost.schemas.values import TERMINAL, State
from milepost.settings import Settings


class Subscriber(Reader[Completion]):
    """Completions, one by one; see Reader for what is committed when.

        async with Subscriber(group="billing", states={"failed"}) as completions:
            async for completion in completions:
                ...

    Args:
        settings: where Kafka is; by default read from the environment.
        group: the consumer group; its members share the work.
        states: terminal states to hear of, by default all three.
        tenants, operations, providers: only these; None for all. A completion whose `requested`
            event has not come yet passes the filters on operation and provider: they are not known.
        start: where a new group begins: "latest", "earliest" or an aware datetime (by the broker's
            time of the record).
        timeout: seconds that connecting and committing may take.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        group: str,
        states: Collection[State | str] = TERMINAL,
        tenants: Collection[str] | None = None,
        operations: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        start: Start = "latest",
        timeout: float = 30,
    ) -> None:
        settings = settings or Settings()
        topics = [settings.topics.completions(state) for state in _terminal(states)]
        super().__init__(settings, topics=topics, group=group, start=start, timeout=timeout)
        self._tenants = tenants
        self._operations = operations
        self._providers = providers

    def _parse(self, value: bytes) -> Completion:
        return Completion.model_validate_json(value, extra="ignore")

    def _wanted(self, item: Completion) -> bool:
        if self._tenants is not None and item.tenant not in self._tenants:
            return False
        if not item.requested:
            return True
        return (self._operations is None or item.operation in self._operations) and (
            self._providers is None or item.provider in self._providers
        )


def _terminal(states: Collection[State | str]) -> set[State]:
    if isinstance(states, str):
        raise TypeError('states must be a collection, e.g. {"failed"}')
    chosen = {State(state) for state in states}
    if not chosen or not chosen <= TERMINAL:
        raise ValueError(f"states must be some of {', '.join(sorted(TERMINAL))}")
    return chosen
